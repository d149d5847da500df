"""Locks between processes: one holder at a time, and a little patience."""

import os
import time
from pathlib import Path

import pytest

from training_core.config import InputError
from training_core.files.locks import acquire, locked


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        start = time.monotonic()
        with pytest.raises(InputError, match="lock is held by another process"):
            acquire(tmp_path / "lock", patience_s=0.25)
        assert time.monotonic() - start >= 0.25
    os.close(acquire(tmp_path / "lock"))


def test_the_lock_of_a_process_that_ends_is_free_again(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        acquire(tmp_path / "lock")
        time.sleep(0.5)
        os._exit(0)
    time.sleep(0.2)
    with pytest.raises(InputError):
        acquire(tmp_path / "lock")
    os.close(acquire(tmp_path / "lock", patience_s=20.0))
    os.waitpid(child, 0)
