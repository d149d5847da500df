"""True paths of points on the surface, over all frames: what tracking is measured by."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from blender_render.blender.geometry import go_to, seen_parts
from blender_render.dataset.tracks import write_tracks
from blender_render.rendering.framing import Part, triangle_areas

logger = logging.getLogger(__name__)

Points = npt.NDArray[np.float64]

# So far above its triangle a point looks for the cameras, in units of the world.
_ABOVE = 1e-4
# Of the points drawn, this many times too many, those are kept that some camera sees.
_DRAWN = 4


def write_surface_tracks(
    folder: Path, times: Sequence[float], rendered: set[str], eyes: Points, count: int
) -> None:
    """Write what ``surface_tracks`` finds into a dataset's folder; nothing where it finds none."""
    tracks = surface_tracks(times, rendered, eyes, count) if count else None
    if tracks is not None:
        write_tracks(folder, tracks.astype(np.float32))


def surface_tracks(
    times: Sequence[float], rendered: set[str], eyes: Points, count: int
) -> Points | None:
    """Paths [T, N, 3] of at most ``count`` points, which lie evenly over what is seen at first.

    Args:
        times: of the frames; the scene is normalised. rendered: names of the objects that show.
        eyes: positions of the cameras, [V, 3].

    Returns:
        None where the triangles are not the same ones in every frame, or none is seen.
    """
    first = _triangles(seen_parts(go_to(times[0]), rendered))
    generator = np.random.default_rng(0)
    faces, shares = _draw(first, _DRAWN * count, generator)
    if not len(faces):
        return None
    seen = _seen(first, faces, shares, eyes)
    # Drawn in random order, so the first of them lie as evenly as all.
    faces, shares = faces[seen][:count], shares[seen][:count]
    paths = []
    for time in times:
        now = _triangles(seen_parts(go_to(time), rendered))
        if now.shape != first.shape:
            logger.info("no surface tracks: the triangles of frame %g are others", time)
            return None
        paths.append(_places(now, faces, shares))
    return np.stack(paths) if len(faces) else None


def _triangles(parts: Sequence[Part]) -> Points:
    """Corners of all triangles, [M, 3, 3]."""
    corners = [part.positions[part.corners] for part in parts if len(part.corners)]
    return np.concatenate(corners) if corners else np.empty((0, 3, 3))


def _draw(
    triangles: Points, count: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Points]:
    """``count`` places evenly over the area: triangle numbers and barycentric shares [count, 3]."""
    numbers = np.arange(3 * len(triangles)).reshape(-1, 3)
    areas = triangle_areas(triangles.reshape(-1, 3), numbers)
    areas = np.where(np.isfinite(areas), areas, 0.0)
    if not areas.sum() > 0.0:
        return np.empty(0, np.int64), np.empty((0, 3))
    faces = generator.choice(len(areas), size=count, p=areas / areas.sum())
    root, along = np.sqrt(generator.random(count)), generator.random(count)
    shares = np.stack([1.0 - root, root * (1.0 - along), root * along], axis=1)
    return faces, shares


def _places(triangles: Points, faces: npt.NDArray[np.int64], shares: Points) -> Points:
    return np.einsum("nk,nkd->nd", shares, triangles[faces])


def _seen(
    triangles: Points, faces: npt.NDArray[np.int64], shares: Points, eyes: Points
) -> npt.NDArray[np.bool_]:
    """Which places at least one camera sees past all triangles, from either side of their own."""
    corners = triangles.reshape(-1, 3)
    tree = BVHTree.FromPolygons(
        corners.tolist(), np.arange(len(corners)).reshape(-1, 3).tolist(), all_triangles=True
    )
    seen = np.zeros(len(faces), dtype=bool)
    for i, place in enumerate(_places(triangles, faces, shares)):
        for eye in eyes:
            way = eye - place
            toward = way / np.linalg.norm(way)
            start = Vector(place + _ABOVE * toward)
            if tree.ray_cast(start, Vector(toward), float(np.linalg.norm(way)))[0] is None:
                seen[i] = True
                break
    return seen
