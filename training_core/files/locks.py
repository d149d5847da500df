"""Locks between processes, also on different machines; the system drops them when one ends."""

import contextlib
import fcntl
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from training_core.config import InputError

logger = logging.getLogger(__name__)

_MOST_REPLACED = 1000


def acquire(path: Path, patience_s: float = 0.0) -> int:
    """Lock the file `path`, made if need be; returns its descriptor, which `os.close` unlocks.

    File systems that know no locks are tolerated, with a warning.

    Args:
        patience_s: how long to wait for a process that holds the lock.

    Raises:
        InputError: another process still holds it.
    """
    deadline, replaced = time.monotonic() + patience_s, 0
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed the file, and the next has another. A file system
            # on which no file is ever the one that was opened is like one without locks.
            replaced += 1
            if _is_still(path, descriptor) or replaced > _MOST_REPLACED:
                return descriptor
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise InputError(f"{path} is held by another process") from None
            time.sleep(0.1)
        except OSError as error:
            logger.warning("cannot lock %s: %s", path, error.strerror)
            return descriptor


@contextlib.contextmanager
def locked(path: Path, patience_s: float = math.inf, *, remove: bool = False) -> Iterator[None]:
    """Hold the lock on `path` during the block; see `acquire`.

    Args:
        remove: delete the file in the end.
    """
    descriptor = acquire(path, patience_s)
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
