"""Schedules at their start, middle, end and beyond."""

import math

import pytest

from training_core.step import schedules


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [(schedules.linear, 5.05), (schedules.cosine, 5.05), (schedules.exponential, 1.0)],
)
def test_ends_middle_and_beyond(schedule, middle: float) -> None:
    values = [schedule(t, 10.0, 0.1) for t in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert values == pytest.approx([10.0, 10.0, middle, 0.1, 0.1], rel=1e-12)
    assert all(
        schedule(t / 50, 10.0, 0.1) < schedule((t - 1) / 50, 10.0, 0.1) for t in range(1, 51)
    )


def test_ends_are_exact() -> None:
    assert schedules.linear(1.0, 0.3, 0.1) == 0.1
    assert schedules.cosine(1.0, 0.3, 0.1) == 0.1


def test_cosine_is_flat_at_both_ends() -> None:
    assert schedules.cosine(0.01, 1.0, 0.0) > 0.999
    assert schedules.cosine(0.99, 1.0, 0.0) < 0.001


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_exponential_needs_positive_ends(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive ends"):
        schedules.exponential(0.5, *ends)


def test_warmup_cosine() -> None:
    def rate(step: int) -> float:
        return schedules.warmup_cosine(step, total=110, warmup=10, peak=2.0, end=0.5, start=0.2)

    assert [rate(s) for s in (0, 5, 10, 60, 110, 500)] == pytest.approx(
        [0.2, 1.1, 2.0, 1.25, 0.5, 0.5]
    )


@pytest.mark.parametrize(("total", "warmup"), [(10, 0), (10, 10), (5, 10), (0, 0)])
def test_warmup_of_any_length_stays_within_its_values(total: int, warmup: int) -> None:
    values = [schedules.warmup_cosine(s, total, warmup, 1.0) for s in range(12)]
    assert all(0.0 <= v <= 1.0 and math.isfinite(v) for v in values)


def test_fraction() -> None:
    assert [schedules.fraction(s, 4) for s in (-1, 0, 1, 4, 9)] == [0.0, 0.0, 0.25, 1.0, 1.0]
    assert schedules.fraction(0, 0) == 1.0
