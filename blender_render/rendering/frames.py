"""Which moments of an action become frames of a dataset: pure arithmetic, no Blender.

Times are Blender frame numbers and may be fractional; ``split_frame`` turns one into the pair
that ``scene.frame_set`` takes.
"""

from __future__ import annotations

import math

TOLERANCE = 1e-4  # frames; importers store key times as float32 seconds


def sample_times(
    start: float, end: float, *, every: float = 0.0, count: int = 0, loop: bool = False
) -> list[float]:
    """Moments to render between ``start`` and ``end`` (source frames, start ≤ end).

    Args:
        every: step in source frames, first moment at ``start``.
        count: number of evenly spread moments; exactly one of ``every`` and ``count`` is positive.
        loop: the pose at ``end`` equals the one at ``start``, so ``end`` itself is left out;
            otherwise ``end`` is the last of ``count`` moments, or kept if ``every`` falls on it.

    Returns:
        At least one moment, strictly increasing. An action without duration gives one.

    Raises:
        ValueError: not exactly one of every and count is positive, or end < start.
    """
    if (every > 0) == (count > 0):
        raise ValueError("give exactly one of every and count")
    if end < start:
        raise ValueError(f"the action ends ({end}) before it starts ({start})")
    duration = end - start
    if duration <= TOLERANCE:
        return [start]
    if count:
        if count == 1:
            return [start]
        step = duration / (count if loop else count - 1)
        return [start + i * step for i in range(count)]
    limit = duration - TOLERANCE if loop else duration + TOLERANCE
    steps = math.floor(limit / every)
    return [start + i * every for i in range(steps + 1)]


def split_frame(time: float) -> tuple[int, float]:
    """(whole frame, subframe in [0, 1)); moments within 1e-4 of a whole frame snap to it."""
    nearest = round(time)
    if abs(time - nearest) < TOLERANCE:
        return nearest, 0.0
    whole = math.floor(time)
    return whole, time - whole


def playback_fps(times: list[float], source_fps: float) -> float:
    """Rate at which the sampled moments play at the action's own speed, in frames per second."""
    if len(times) < 2:
        return source_fps
    return source_fps / (times[1] - times[0])
