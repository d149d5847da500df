"""What the masks of the pictures say about views without a picture: nothing shows outside the
visual hull's projection, and where a ray crosses much of the hull something most likely does.

The first is as exact as the masks. The second is only likely; it closes holes and has a weight of
its own.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import UNIT_CUBE_RADIUS, Camera
from sjc_papr.data.eyes import Eye

_STEPS = 128


class HullGrid:
    """Which cells of a cube around the origin belong to the visual hull.

    Cells are tested at their centres against the masks widened by a cell, so that no cell with
    matter in it is missing.

    Args:
        alpha: of the pictures, [V, H, W] in [0, 1]. What lies outside a picture is unknown; what
            less than half of the pictures show counts as empty.
        resolution: cells along an edge of the cube. object_length: the cube's edge is 1.2 of it.
    """

    def __init__(
        self, alpha: Tensor, cameras: Sequence[Camera], resolution: int, object_length: float = 1.0
    ) -> None:
        self.half = 0.6 * object_length
        self.radius = UNIT_CUBE_RADIUS * object_length
        self.resolution = resolution
        cell = 2.0 * self.half / resolution
        axis = (torch.arange(resolution) + 0.5) * cell - self.half
        centres = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        full = torch.ones(resolution, resolution, resolution, dtype=torch.bool)
        seen = torch.zeros(full.shape, dtype=torch.int16)
        for picture, camera in zip(alpha, cameras, strict=True):
            distance = max(float(np.linalg.norm(camera.position)) - self.half, cell)
            reach = int(np.ceil(cell * max(camera.fl_x, camera.fl_y) / distance))
            size = 2 * reach + 1
            widened = F.max_pool2d(picture[None], size, stride=1, padding=reach)[0]
            eye = Eye.of(camera)
            full[full.clone()] = eye.look_up(widened, centres[full], 1.0) > 0.1
            seen += eye.look_up(torch.ones_like(picture), centres, 0.0) > 0.0
        # What few pictures show, nothing speaks for.
        self.full = full & (seen >= max(2, len(cameras) // 2))

    def chords(self, camera: Camera) -> Tensor:
        """Length of each ray's way through the hull, [H, W], world units of planar depth."""
        eye = Eye.of(camera)
        distance = float(np.linalg.norm(camera.position))
        depths = torch.linspace(max(distance - self.radius, 0.0), distance + self.radius, _STEPS)
        step = float(depths[1] - depths[0])
        points = eye.origin + depths[:, None, None, None] * eye.toward
        return self.holds(points).sum(dim=0) * step

    def holds(self, points: Tensor) -> Tensor:
        """Bool [...]: whether the cell of each point [..., 3] belongs to the hull."""
        last = self.resolution - 1
        cell = torch.floor((points + self.half) * (self.resolution / (2.0 * self.half))).long()
        within = ((cell >= 0) & (cell <= last)).all(dim=-1)
        x, y, z = cell.clamp(0, last).unbind(-1)
        flat = (x * self.resolution + y) * self.resolution + z
        return self.full.flatten()[flat] & within


def silhouette_losses(alpha: Tensor, chords: Tensor, core_depth: float) -> tuple[Tensor, Tensor]:
    """Alpha where there can be no object, and what alpha lacks where there is much hull.

    Args:
        alpha: of a render, [H, W] in [0, 1]; differentiable. chords: see ``HullGrid``, [H, W].
        core_depth: a ray with a longer chord than this is in the core, world units.

    Returns:
        Two numbers: the sums of squares outside and in the core, both over all pixels' count, so
        that neither depends on how much of the picture the object fills.
    """
    nothing, core = chords <= 0.0, chords > core_depth
    outside = torch.where(nothing, alpha, 0.0).square().mean()
    lacking = torch.where(core, 1.0 - alpha, 0.0).square().mean()
    return outside, lacking
