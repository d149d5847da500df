"""Processes that train one network together."""

from typing import Protocol


class Processes(Protocol):
    """The processes that train together; all of them run the loop."""

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes, validates and shows progress."""
        ...

    def wait(self) -> None:
        """Return when all processes have come here."""
        ...

    def any_process(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; all must ask at the same step."""
        ...


class OneProcess:
    """No other processes."""

    is_main = True

    def wait(self) -> None:
        """There is nobody to wait for."""

    def any_process(self, flag: bool) -> bool:
        """See ``Processes``."""
        return flag
