"""Which part of the geometry makes a mark in a picture, and so has to fit into it: arithmetic only.

Assets hold faces that no picture shows: scaled to nothing to hide them, often far away, or specks
left behind while modelling. A box around them would leave the object small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Corners = npt.NDArray[np.int64]

# A triangle is nothing where its area is this small beside the square of its longest side, or that
# side beside its distance from the origin (what float32 positions round to).
_FLAT, _ROUNDED = 1e-10, 1e-6
# A part is a speck where it has this share of all area: under a pixel in any picture of ours.
SPECK = 1e-5


@dataclass(frozen=True, eq=False)
class Part:
    """One object or instance: positions [N, 3] and the corners [T, 3] of its opaque triangles."""

    positions: Points
    corners: Corners


def seen_points(parts: Sequence[Part]) -> Points:
    """Corners [M, 3] of all triangles that have an area, of parts that are more than specks.

    Specks count where they lie within the box of the rest. Positions that are not finite are kept,
    for whoever looks at the box to find. Empty where nothing is seen.
    """
    areas, seen = [], []
    for part in parts:
        area = triangle_areas(part.positions, part.corners)
        used = np.unique(part.corners[area > 0.0])
        areas.append(float(area.sum()))
        seen.append(part.positions[used])
    total = sum(areas)
    kept = [
        points
        for points, area in zip(seen, areas, strict=True)
        if len(points) and not area < SPECK * total
    ]
    return np.concatenate(kept) if kept else np.empty((0, 3))


def middle_of_surface(parts: Sequence[Part]) -> Points:
    """Centre of mass [3] of all triangles, as if they were of one sheet; of the finite ones. The
    middle of the corners where nothing has an area, and the origin where nothing is.
    """
    weighted, total = np.zeros(3), 0.0
    for part in parts:
        area = triangle_areas(part.positions, part.corners)
        sound = np.isfinite(area)
        centres = part.positions[part.corners[sound]].mean(axis=1)
        weighted += area[sound] @ centres
        total += float(area[sound].sum())
    if total > 0.0:
        return weighted / total
    positions = np.concatenate([part.positions for part in parts] or [np.zeros((0, 3))])
    return positions.mean(axis=0) if len(positions) else np.zeros(3)


def triangle_areas(positions: Points, corners: Corners) -> npt.NDArray[np.float64]:
    """Areas [T] of triangles; 0 for those that are flat or whose corners differ by rounding alone,
    infinity for those that are not finite.
    """
    a, b, c = (positions[corners[:, i]] for i in range(3))
    with np.errstate(invalid="ignore", over="ignore"):
        area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
        sides = np.stack([b - a, c - b, a - c])
        longest = np.linalg.norm(sides, axis=2).max(axis=0)
        away = np.abs(np.stack([a, b, c])).max(axis=(0, 2))
    nothing = (area <= _FLAT * longest**2) | (longest <= _ROUNDED * away)
    finite = np.isfinite(area) & np.isfinite(away)
    return np.where(finite, np.where(nothing, 0.0, area), np.inf)
