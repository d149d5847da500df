"""Schedules as pure functions: no state to save, nothing to replay after a resume.

`progress` is the fraction of the work that is done; outside [0, 1] it counts as the nearer end.
"""

import math


def fraction(step: int, total: int) -> float:
    """Fraction of `total` steps done, in [0, 1]; 1 when there is nothing to do."""
    return 1.0 if total <= 0 else _clamp(step / total)


def linear(progress: float, start: float, end: float) -> float:
    """Straight line from `start` to `end`."""
    t = _clamp(progress)
    return (1.0 - t) * start + t * end


def cosine(progress: float, start: float, end: float) -> float:
    """Half a cosine wave from `start` to `end`, flat at both ends."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * _clamp(progress)))


def exponential(progress: float, start: float, end: float) -> float:
    """Straight line in the logarithm from `start` to `end`.

    Raises:
        ValueError: when either end is not positive.
    """
    if start <= 0.0 or end <= 0.0:
        raise ValueError(f"exponential schedule needs positive ends, got {start} and {end}")
    return math.exp(linear(progress, math.log(start), math.log(end)))


def warmup_cosine(
    step: int, total: int, warmup: int, peak: float, end: float = 0.0, start: float = 0.0
) -> float:
    """Linear rise from `start` to `peak` over `warmup` steps, then a cosine fall to `end`."""
    if step < warmup:
        return linear(step / warmup, start, peak)
    return cosine(fraction(step - warmup, total - warmup), peak, end)


def _clamp(value: float) -> float:
    return min(max(value, 0.0), 1.0)
