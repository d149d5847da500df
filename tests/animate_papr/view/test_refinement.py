"""Coarse to fine: a rest is refined to the end, and a new wish interrupts what is old."""

import threading

from animate_papr.view.refinement import Refiner, levels


def test_levels_double_and_end_at_the_finest() -> None:
    assert levels(40, 160) == [40, 80, 160]
    assert levels(40, 100) == [40, 80, 100]
    assert levels(64, 32) == [32]


class Drawings:
    """Records what is drawn; the first image waits until it is told to end."""

    def __init__(self) -> None:
        self.made: list[tuple[object, int]] = []
        self.begun, self.go_on, self.complete = (threading.Event() for _ in range(3))

    def draw(self, request: object, size: int) -> None:
        self.made.append((request, size))
        self.begun.set()
        self.go_on.wait(10)
        if size == 4:
            self.complete.set()


def test_a_new_wish_ends_the_refining_of_the_old_one() -> None:
    drawings, rates = Drawings(), []
    refiner = Refiner(drawings.draw, [1, 2, 4], lambda size, seconds: rates.append((size, seconds)))
    refiner.ask("first")
    assert drawings.begun.wait(10)
    refiner.ask("second")
    refiner.ask("third")
    drawings.go_on.set()
    assert drawings.complete.wait(10)
    refiner.ask("third")  # nothing new
    refiner.stop()
    assert drawings.made == [("first", 1), ("third", 1), ("third", 2), ("third", 4)]
    assert [size for size, _ in rates] == [1, 1, 2, 4]
    assert all(seconds >= 0 for _, seconds in rates)


def test_stopping_without_a_wish() -> None:
    Refiner(lambda request, size: None, [1]).stop()
