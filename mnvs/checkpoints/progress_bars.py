"""The progress bars that transformers shows for each network which it reads or writes."""

import contextlib
from collections.abc import Iterator

from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """No such bar within: in a log file each is a line of block characters. Other uses of the
    library in this process keep theirs.
    """
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
