"""Stopping cleanly when the scheduler or the user asks for it."""

import contextlib
import logging
import re
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

# How gloo and NCCL say that the other end of a connection is gone.
LOST_PEER = re.compile(r"connection (closed|reset)|broken pipe|gloo|nccl|remote process", re.I)
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1})


class Stopped(Exception):  # noqa: N818 (not an error)
    """The work was stopped by a signal after saving; the same command continues it."""


class StopSignals:
    """Context manager that turns SIGTERM, SIGINT and SIGUSR1 into a request to stop.

    A loop finishes its step, sees `requested`, saves, and calls `raise_if_requested()`. A second
    SIGINT (Ctrl-C) interrupts at once. Use in the main thread only.

    Inside another one, the inner one hears the signals; a request that comes after its last look
    is handed to the outer one.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._interrupts = 0
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """True once a signal has arrived."""
        return self._received is not None

    def raise_if_requested(self) -> None:
        """Raise `Stopped` once a signal has arrived; call it after saving."""
        if self._received is not None:
            raise Stopped(f"stopped by {self._received.name}")

    def __enter__(self) -> "StopSignals":
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *details: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._received is not None and details[0] is None:
            outer = getattr(self._previous[self._received], "__self__", None)
            if isinstance(outer, StopSignals):
                outer._received = self._received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
        repeated = self._received == number
        self._received = signal.Signals(number)
        if repeated:  # a job script says it again until the process ends
            return
        logger.info("%s received: finishing this step, then saving", self._received.name)


@contextlib.contextmanager
def lost_processes_explained(count: int) -> Iterator[None]:
    """Say in one line that another of ``count`` processes has died, where torch tells of a
    connection.

    Raises:
        Stopped: in that case. The step that could not be finished is lost, the checkpoint is not.
    """
    try:
        yield
    except RuntimeError as error:
        if count > 1 and LOST_PEER.search(str(error)):
            lost = (
                "another process of this run has died; everything up to the last checkpoint is kept"
            )
            raise Stopped(lost) from error
        raise
