"""What the pictures of a few known cameras say about depth before anything is learned.

Conventions as everywhere: OpenGL cameras, +Z up, planar depth in world units (the object is about 1
long), pictures [V, H, W, ...] with row 0 on top, alpha in [0, 1].
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import UNIT_CUBE_RADIUS, Camera
from sjc_papr.data.eyes import Eye

# A pixel of which the object covers this much may hold matter; half would cut thin parts off, a
# tenth would let the hull grow by a rim.
COVERED = 0.3
SHOWN = 0.5  # alpha from which a pixel counts as the object's own
_STEPS = 128


class HullDepth(NamedTuple):
    """Where each pixel's ray is inside the visual hull of all pictures.

    Attributes:
        entry: planar depth at which it first is, [V, H, W]; 0 where the pixel shows no object.
        exit: planar depth at which it last is, likewise.
    """

    entry: Tensor
    exit: Tensor


def hull_depth(alpha: Tensor, cameras: Sequence[Camera], object_radius: float = 0.0) -> HullDepth:
    """Planar depth of the visual hull along every ray that shows the object.

    A ray that is nowhere inside all pictures (thin parts, pixels half covered) takes the depths
    at which it is inside as many as it can be. What lies outside a picture counts as empty: the
    object must be whole in all of them.

    Args:
        alpha: [V, H, W]. object_radius: nothing lies farther from the origin; 0 = half the diagonal
            of the unit cube. It is sampled at 128 depths, about a pixel of a 64-pixel picture.
    """
    radius = object_radius or UNIT_CUBE_RADIUS
    eyes = [Eye.of(camera) for camera in cameras]
    entry, exit_ = torch.zeros_like(alpha), torch.zeros_like(alpha)
    for view, (eye, camera) in enumerate(zip(eyes, cameras, strict=True)):
        shown = alpha[view] >= SHOWN
        distance = float(np.linalg.norm(camera.position))
        depths = torch.linspace(max(distance - radius, 1e-3), distance + radius, _STEPS)
        inside = torch.zeros(int(shown.sum()), _STEPS, dtype=torch.int16)
        points = eye.origin + depths[:, None] * eye.toward[shown][:, None]
        for other, other_eye in enumerate(eyes):
            if other != view:
                inside += other_eye.look_up(alpha[other], points, 0.0) > COVERED
        if not len(inside):
            continue
        best = inside == inside.amax(dim=1, keepdim=True)
        entry[view][shown] = depths[best.float().argmax(dim=1)]
        exit_[view][shown] = depths[_STEPS - 1 - best.flip(1).float().argmax(dim=1)]
    return HullDepth(entry, exit_)


def colour_disagreement(
    pictures: Tensor, cameras: Sequence[Camera], entry: Tensor, behind: Tensor
) -> Tensor:
    """How differently two neighbouring views colour each guess of a pixel's depth.

    A point of the surface that two views see has one colour in both; a wrong guess lands on
    something else.

    Args:
        pictures: [V, H, W, 4], straight alpha, views in order round the object.
        entry: depth of the hull, [V, H, W], 0 = no object.
        behind: guesses, as distances behind ``entry``, [K] world units.

    Returns:
        Mean absolute difference of RGB on grey in [0, 1], [V, 2K, H, W]: K guesses against the view
        before, then K against the view after. 1 where a guess falls outside the other's
        silhouette, 0 where the pixel shows no object.
    """
    count, height, width = entry.shape
    eyes = [Eye.of(camera) for camera in cameras]
    grey = torch.lerp(torch.tensor(0.5), pictures[..., :3], pictures[..., 3:])
    looked_at = torch.cat([grey, pictures[..., 3:]], dim=-1).permute(0, 3, 1, 2)
    found = torch.zeros(count, 2 * len(behind), height, width)
    for view, eye in enumerate(eyes):
        shown = entry[view] > 0
        if not shown.any():
            continue
        depths = entry[view][shown][:, None] + behind
        points = eye.origin + depths.unsqueeze(-1) * eye.toward[shown][:, None]
        for side, other in enumerate(((view - 1) % count, (view + 1) % count)):
            pixel, _ = eyes[other].project(points)
            grid = (2.0 * pixel / eyes[other].size - 1.0)[None]
            seen = F.grid_sample(looked_at[other][None], grid, align_corners=False)[0]
            difference = (seen[:3].permute(1, 2, 0) - grey[view][shown][:, None]).abs().mean(-1)
            difference = torch.where(seen[3] > COVERED, difference, 1.0)
            channels = slice(side * len(behind), (side + 1) * len(behind))
            found[view, channels, shown] = difference.T
    return found


def lift(depth: Tensor, cameras: Sequence[Camera]) -> Tensor:
    """World points [V, H, W, 3] at planar depths [V, H, W]."""
    eyes = [Eye.of(camera) for camera in cameras]
    return torch.stack(
        [e.origin + d.unsqueeze(-1) * e.toward for e, d in zip(eyes, depth, strict=True)]
    )
