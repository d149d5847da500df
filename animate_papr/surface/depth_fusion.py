"""Depth images from all around → a signed distance on a grid (Curless and Levoy 1996).

Depth of proximity attention comes from points of different depth, so single images are noisy and
wrong on outlines; the mean over many views is less so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from blender_render.geometry.cameras import Camera

_OPAQUE = 0.5  # below this alpha a pixel shows background


@dataclass(frozen=True)
class Grid:
    """Nodes at `low` + index * `step` for indices below `shape`."""

    low: np.ndarray
    step: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, positions: np.ndarray, resolution: int, margin: int = 4) -> "Grid":
        """`resolution` steps along the longest side of the box of positions [P, 3].

        `margin` more nodes on every side keep the surface off the border.
        """
        low, high = positions.min(0).astype(np.float64), positions.max(0).astype(np.float64)
        step = max(float((high - low).max()), 1e-6) / resolution
        x, y, z = (int(n) for n in np.ceil((high - low) / step) + 1 + 2 * margin)
        return cls(low - margin * step, step, (x, y, z))

    def nodes(self) -> np.ndarray:
        """Their places [X * Y * Z, 3] in the world."""
        return np.asarray(self.low + self.step * np.indices(self.shape).reshape(3, -1).T)

    def to_world(self, places: np.ndarray) -> np.ndarray:
        """Places [V, 3] in grid units as world coordinates."""
        return np.asarray(self.low + self.step * places)


def fuse_depth(
    alpha: Tensor,
    depth: Tensor,
    cameras: Sequence[Camera],
    grid: Grid,
    *,
    truncation: float = 8.0,
    carving: float = 0.3,
    smoothing: int = 1,
) -> np.ndarray:
    """Signed distance [X, Y, Z] to the surface, in grid steps, negative inside.

    Every view says of the nodes in front of its surface, and a little behind it, how far they are
    from it; where it shows background, that they are outside. Behind the surface it says nothing.
    A node of which no view says anything is inside.

    Args:
        alpha: [V, H, W] in [0, 1]. depth: [V, H, W] planar, world units. cameras: V of them.
        truncation: distance at which a surface stops to count, in grid steps.
        carving: weight of a pixel of background, where one of the surface has 1.
        smoothing: how often the field is smoothed by (1, 2, 1) / 4 along each axis.
    """
    nodes = grid.nodes()
    total, weight = np.zeros(len(nodes)), np.zeros(len(nodes))
    reach = truncation * grid.step
    for opacity, surface, camera in zip(alpha, depth, cameras, strict=True):
        pixels, own = camera.project(nodes)
        column, row = np.nan_to_num(np.floor(pixels), nan=-1.0).clip(-1, 2**24).astype(int).T
        shown = (own > 0) & (column >= 0) & (column < camera.width)
        shown &= (row >= 0) & (row < camera.height)
        column, row = column.clip(0, camera.width - 1), row.clip(0, camera.height - 1)
        opaque = opacity.cpu().numpy()[row, column] >= _OPAQUE
        distance = surface.cpu().numpy()[row, column] - own
        near = shown & opaque & (distance > -reach)
        total += np.where(near, np.clip(distance / reach, -1, 1), 0.0)
        background = shown & ~opaque
        total += np.where(background, carving, 0.0)
        weight += near + carving * background
    field = np.where(weight > 0, total / np.maximum(weight, 1e-9), -1.0).reshape(grid.shape)
    for _ in range(smoothing):
        for axis in range(3):
            ends = np.concatenate(
                [field.take([0], axis), field, field.take([-1], axis)], axis
            ).swapaxes(0, axis)
            field = (0.25 * ends[:-2] + 0.5 * ends[1:-1] + 0.25 * ends[2:]).swapaxes(0, axis)
    # Closed by force: what touches the border of the grid ends there.
    closed = np.full_like(field, 1.0)
    inner = (slice(1, -1),) * 3
    closed[inner] = field[inner]
    return closed * truncation
