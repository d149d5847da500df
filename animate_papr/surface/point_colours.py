"""Colours of points that have features instead: what images show where a point is in front."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera

GREY = 0.5
_OPAQUE = 0.5  # below this alpha a pixel shows more background than surface


def point_colours(
    positions: Tensor,
    influence: Tensor,
    images: Tensor,
    alpha: Tensor,
    depth: Tensor,
    cameras: Sequence[Camera],
    *,
    tolerance: float,
    background: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor]:
    """Average colour of each point over the views in which it belongs to the visible surface.

    A point belongs to the surface of a view where its planar depth lies within `tolerance` of the
    depth seen at its pixel. The background's share is taken out of soft pixels, and a view counts
    by its alpha there. Points without influence (at or below 0) colour no image and get none.

    Args:
        positions: [P, 3] world units. influence: [P].
        images: [V, H, W, 3] in [0, 1], composited over `background` (a number or [3]).
        alpha: [V, H, W] in [0, 1]. depth: [V, H, W] planar, world units.
        cameras: V cameras with images of H x W. tolerance: world units.

    Returns:
        rgb [P, 3] in [0, 1], grey (0.5) where no view saw the point; seen [P], the summed alpha of
        the views that did.
    """
    count, height, width, _ = images.shape
    if len(cameras) != count or any((c.height, c.width) != (height, width) for c in cameras):
        raise ValueError(f"{count} pictures of {width}x{height} need as many cameras of that size")
    total = positions.new_zeros(len(positions), 3)
    seen = positions.new_zeros(len(positions))
    for image, opacity, surface, camera in zip(images, alpha, depth, cameras, strict=True):
        column, row, own_depth = _pixels_of(positions, camera)
        inside = (own_depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
        here = opacity[row, column]
        near = (own_depth - surface[row, column]).abs() <= tolerance
        weight = here * (inside & near & (here >= _OPAQUE) & (influence > 0))
        clean = (image[row, column] - (1 - here[:, None]) * background) / here[:, None].clamp(
            min=_OPAQUE
        )
        total += weight[:, None] * clean.clamp(0, 1)
        seen += weight
    rgb = torch.where(seen[:, None] > 0, total / seen[:, None].clamp(min=1e-6), GREY)
    return rgb, seen


def _pixels_of(positions: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Column [P], row [P] (may lie outside the image) and planar depth [P] of points [P, 3]."""
    pixels, depth = camera.project(positions.detach().cpu().double().numpy())
    # Points behind the camera have pixels that mean nothing and may not fit an integer.
    xy = torch.from_numpy(pixels).nan_to_num(-1.0).clamp(-1, 2**24).floor().long()
    xy = xy.to(positions.device)
    return xy[:, 0], xy[:, 1], torch.from_numpy(depth).to(positions)


def colours_from_neighbours(positions: Tensor, rgb: Tensor, seen: Tensor) -> Tensor:
    """rgb [P, 3] in which a point that no view saw has the colour of the nearest one seen."""
    known, unknown = torch.nonzero(seen > 0)[:, 0], torch.nonzero(seen <= 0)[:, 0]
    if len(known) == 0 or len(unknown) == 0:
        return rgb
    filled = rgb.clone()
    for part in unknown.split(1024):  # bounds the distance matrix
        nearest = torch.cdist(positions[part], positions[known]).argmin(dim=1)
        filled[part] = rgb[known[nearest]]
    return filled
