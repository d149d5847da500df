"""Where the rays of a new camera first meet the object that a few depth maps describe.

The maps are fused along each ray as a truncated signed distance (Curless & Levoy, "A Volumetric
Method for Building Complex Models from Range Images", SIGGRAPH 1996): each view says how far in
front of its own surface a place lies, the surer views count for more, and the surface is where the
mean changes its sign. Nothing outside the masks' visual hull is object.

Conventions as everywhere: OpenGL cameras, +Z up, planar depth in world units (the object is about 1
long), pictures [V, H, W, ...] with row 0 on top, straight alpha in [0, 1].
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import UNIT_CUBE_RADIUS, Camera
from sjc_papr.data.eyes import Eye
from sjc_papr.feed_forward.geometry import COVERED
from sjc_papr.pseudo_views.depth_views import DepthViews

# Places on a ray at which the hull is sought, over the ball that holds the object; and then within
# the hull, a hundredth of the object apart or less.
_COARSE, _FINE = 48, 48
# Signed distances are cut off here, world units. Farther behind its surface a view sees nothing.
_CUT_OFF = 0.03


class RaySurface(NamedTuple):
    """Of the N rays of a camera that may meet the object.

    Attributes:
        pixels: which they are, row * width + column, [N] int64, ascending.
        depth: planar depth of the surface, world units, [N]; where there is none, of the hull, or
            of the middle of where it may be.
        entry, exit: where the ray is first and last inside the hull, [N]; ``depth`` if nowhere.
        found: bool [N], whether the depth maps put a surface on the ray.
        inside: bool [N], whether the ray meets the hull at all.
    """

    pixels: Tensor
    depth: Tensor
    entry: Tensor
    exit: Tensor
    found: Tensor
    inside: Tensor


@torch.no_grad()
def first_surface(views: DepthViews, camera: Camera) -> RaySurface:
    """Where the rays of ``camera`` first meet the object."""
    eye = Eye.of(camera)
    pixels, low, high = _hull_spans(views, eye, camera)
    share = torch.linspace(0.0, 1.0, _FINE)[:, None]
    depths = low + (high - low) * share  # [S, N]
    rays = eye.toward.flatten(0, 1)[pixels]
    points = eye.origin + depths.unsqueeze(-1) * rays
    distance, hull = _fused_distance(views, points)
    solid = (distance <= 0.0) & hull
    column = torch.arange(len(pixels))
    middle = depths[_FINE // 2]
    inside, found = hull.any(0), solid.any(0)
    entry = torch.where(inside, depths[hull.float().argmax(0), column], middle)
    last = _FINE - 1 - hull.flip(0).float().argmax(0)
    exit_ = torch.where(inside, depths[last, column], middle)
    # Between the first solid place and the one before it, where that is in the hull, too.
    first = solid.float().argmax(0)
    before = (first - 1).clamp_min(0)
    near, far = distance[before, column], distance[first, column]
    back = torch.where(hull[before, column], far / (far - near).clamp_max(-1e-4), 0.0)
    crossing = torch.lerp(depths[first, column], depths[before, column], back.clamp(0.0, 1.0))
    return RaySurface(pixels, torch.where(found, crossing, entry), entry, exit_, found, inside)


def _hull_spans(views: DepthViews, eye: Eye, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Rays that may meet the hull, and a span of depth that holds all of it: pixels [N], nearest
    and farthest depth [N].
    """
    distance = float(np.linalg.norm(camera.position))
    depths = torch.linspace(distance - UNIT_CUBE_RADIUS, distance + UNIT_CUBE_RADIUS, _COARSE)
    # Every second ray is enough, as the masks are some pixels wider here.
    rays = eye.toward[::2, ::2]
    rows, columns = rays.shape[:2]
    flat = rays.flatten(0, 1)
    # Few places are left after the first views: only those are looked up in the others.
    left = torch.arange(_COARSE * len(flat))
    for mask, other in zip(views.wide_masks, views.eyes, strict=True):
        points = eye.origin + depths[left // len(flat), None] * flat[left % len(flat)]
        left = left[other.look_up(mask, points, 0.0) > COVERED]
    inside = torch.zeros(_COARSE * len(flat), dtype=torch.bool)
    inside[left] = True
    number = torch.arange(float(_COARSE))[:, None, None]
    inside = inside.view(_COARSE, rows, columns)
    first = torch.where(inside, number, float(_COARSE)).amin(0)
    last = torch.where(inside, number, -1.0).amax(0)
    # Every ray takes the widest span of those around it.
    first = -F.max_pool2d(-first[None], 3, 1, 1)[0]
    last = F.max_pool2d(last[None], 3, 1, 1)[0]
    height, width = eye.toward.shape[:2]
    first, last = (
        each.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width].flatten()
        for each in (first, last)
    )
    pixels = (last >= 0).nonzero().squeeze(1)
    step = float(depths[1] - depths[0])
    return (
        pixels,
        depths[first[pixels].long()] - step,
        depths[last[pixels].long()] + step,
    )


def _fused_distance(views: DepthViews, points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean signed distance in front of the surface, in units of the cut-off, -1 to 1, and whether
    all masks show the place, of points [S, N, 3].
    """
    total, weights = torch.zeros(points.shape[:-1]), torch.zeros(points.shape[:-1])
    hull = torch.ones(points.shape[:-1], dtype=torch.bool)
    maps = torch.stack([views.images[..., 3], views.depth, views.weight], dim=1).flatten(2)
    for own, eye in zip(maps, views.eyes, strict=True):
        pixel, depth = eye.project(points)
        width, height = eye.size.long().tolist()
        column, row = pixel.unbind(-1)
        held = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        alpha, surface, weight = own[:, place]
        hull &= held & (alpha > COVERED)
        in_front = (surface - depth) / _CUT_OFF
        weight = torch.where(held & (in_front > -1.0), weight, 0.0)
        total += weight * in_front.clamp(-1.0, 1.0)
        weights += weight
    # Where no view has a word, all see something in front of the place.
    return torch.where(weights > 0, total / weights.clamp_min(1e-6), -0.5), hull
