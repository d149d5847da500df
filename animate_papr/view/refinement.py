"""Images that are coarse while the camera moves and become fine once it rests."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

Request = TypeVar("Request", bound=Hashable)


def levels(coarse: int, fine: int) -> list[int]:
    """Longest sides in pixels from coarse to fine, each twice the one before."""
    sizes = [min(coarse, fine)]
    while sizes[-1] < fine:
        sizes.append(min(2 * sizes[-1], fine))
    return sizes


class Refiner:
    """A thread that makes the newest request's images, coarse first, and drops older requests.

    `draw(request, size)` makes and shows one image. A new request interrupts between two images;
    requests that equal the one being worked on change nothing.
    """

    def __init__(
        self,
        draw: Callable[[Hashable, int], None],
        sizes: list[int],
        on_rate: Callable[[int, float], None] | None = None,
    ) -> None:
        self._draw, self._sizes, self._on_rate = draw, sizes, on_rate
        self._changed = threading.Condition()
        self._wanted: Hashable | None = None
        self._version = 0
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def ask(self, request: Hashable) -> None:
        """What is to be seen from now on."""
        with self._changed:
            if request != self._wanted:
                self._wanted, self._version = request, self._version + 1
                self._changed.notify()

    def stop(self) -> None:
        """End the thread, after the image that it is making."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        done = 0
        while True:
            with self._changed:
                while not self._ended and self._version == done:
                    self._changed.wait()
                if self._ended:
                    return
                request, done = self._wanted, self._version
            for size in self._sizes:
                began = time.monotonic()
                self._draw(request, size)
                if self._on_rate is not None:
                    self._on_rate(size, time.monotonic() - began)
                with self._changed:
                    if self._ended or self._version != done:
                        break
