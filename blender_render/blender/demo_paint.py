"""The colours of the demo character, by the points of each part (in the part's own frame)."""

from __future__ import annotations

import numpy as np

from blender_render.blender.solids import Array, along, blend, disc, plain

TEAL = (0.03, 0.36, 0.38)
DEEP_TEAL = (0.01, 0.13, 0.22)
CREAM = (0.90, 0.72, 0.42)
ORANGE = (0.90, 0.24, 0.03)
YELLOW = (0.95, 0.60, 0.05)
PINK = (0.88, 0.20, 0.22)
WHITE = (0.92, 0.92, 0.90)
BLACK = (0.01, 0.01, 0.015)
PURPLE = (0.24, 0.05, 0.32)


def _spots(points: Array, base: Array, centres: list[tuple[float, float, float, float]]) -> Array:
    for x, y, z, radius in centres:
        base = blend(base, DEEP_TEAL, disc(points, (x, y, z), radius))
        base = blend(base, ORANGE, disc(points, (x, y, z), 0.65 * radius))
    return base


def body(points: Array) -> Array:
    """Teal, darker on top, spotted, with a banded oval belly in front."""
    colour = blend(plain(TEAL)(points), DEEP_TEAL, (points[:, 2] - 0.1) * 1.2)
    spots = [
        (0.27, 0.16, 0.12, 0.10),
        (-0.25, 0.18, 0.17, 0.11),
        (0.22, 0.22, -0.15, 0.12),
        (-0.30, 0.10, -0.12, 0.09),
        (-0.12, 0.28, -0.10, 0.08),
        (0.33, 0.0, -0.10, 0.08),
    ]
    colour = _spots(points, colour, spots)
    # The belly is an oval on the front, with bands across it.
    oval = (points[:, 0] / 0.24) ** 2 + ((points[:, 2] + 0.04) / 0.31) ** 2
    belly = np.where(points[:, 1] < 0.0, np.clip((1.0 - oval) * 8.0, 0.0, 1.0), 0.0)
    bands = np.clip(np.sin(points[:, 2] * 52.0) * 4.0 - 2.4, 0.0, 1.0) * belly
    return blend(blend(colour, CREAM, belly), ORANGE, 0.55 * bands)


def head(points: Array) -> Array:
    """Teal with spots behind and pink cheeks."""
    colour = blend(plain(TEAL)(points), DEEP_TEAL, (points[:, 2] - 0.42) * 3.0)
    spots = [
        (0.18, 0.20, 0.40, 0.09),
        (-0.20, 0.18, 0.36, 0.10),
        (0.02, 0.30, 0.22, 0.09),
        (0.27, 0.12, 0.16, 0.075),
        (-0.26, 0.14, 0.12, 0.065),
    ]
    colour = _spots(points, colour, spots)
    for side in (-1, 1):
        colour = blend(colour, PINK, 0.9 * disc(points, (0.27 * side, -0.20, 0.17), 0.085))
    return colour


def snout(points: Array) -> Array:
    """Cream, with nostrils and a smile."""
    colour = plain(CREAM)(points)
    smile = np.abs(points[:, 2] + 0.045 - 1.6 * points[:, 0] ** 2) < 0.011
    wide = np.abs(points[:, 0]) < 0.13
    colour = blend(colour, PURPLE, (smile & wide & (points[:, 1] < 0)).astype(float))
    for side in (-1, 1):
        colour = blend(colour, PURPLE, disc(points, (0.065 * side, -0.115, 0.065), 0.028))
    return colour


def eye(points: Array) -> Array:
    """White, a purple iris, a pupil and a highlight."""
    colour = blend(plain(WHITE)(points), PURPLE, disc(points, (0, -0.085, 0.0), 0.075))
    colour = blend(colour, BLACK, disc(points, (0, -0.085, 0.0), 0.05))
    return blend(colour, WHITE, disc(points, (0.02, -0.085, 0.035), 0.022))


def ear(points: Array) -> Array:
    """Pink inside, purple at the tip."""
    inner = np.clip((-points[:, 1] - 0.03) * 40.0, 0.0, 1.0)
    return blend(along(TEAL, PURPLE, 0.3)(points), PINK, inner)


def foot(points: Array) -> Array:
    """Orange with three pale toes."""
    colour = plain(ORANGE)(points)
    for x in (-0.07, 0.0, 0.07):
        colour = blend(colour, WHITE, disc(points, (x, -0.185 + 1.6 * x * x, 0.01), 0.042))
    return colour
