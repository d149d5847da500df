"""The colours in which pictures show points."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera

# A point counts as seen where no other point lies nearer to the camera by more than this within
# two cells of a few pixels; world units, the object is about 1 unit long.
_APART = 0.03
_CELL_PIXELS = 2
_OPAQUE = 0.5


def seen_colours(points: Tensor, views: Views) -> Tensor:
    """Mean colour of each point over the pictures that see it; elsewhere its nearest neighbour's.

    Args:
        points: [N, 3], world units; their own depths decide which of them hide others.

    Returns:
        RGB [N, 3] in [0, 1]; grey, 0.5, where no picture shows any point.
    """
    total, count = torch.zeros(len(points), 3), torch.zeros(len(points))
    for image, camera in zip(views.images, views.cameras, strict=True):
        x, y, depth, inside = _pixels(points, camera)
        inside &= depth <= _nearest(x, y, depth, inside, camera) + _APART
        inside[inside.clone()] &= image[y[inside], x[inside], 3] > _OPAQUE
        total[inside] += image[y[inside], x[inside], :3]
        count[inside] += 1.0
    seen = count > 0
    if not seen.any():
        return torch.full_like(points, 0.5)
    colours = total / count.clamp_min(1.0).unsqueeze(-1)
    for part in (~seen).nonzero().squeeze(-1).split(1024):
        nearest = torch.cdist(points[part], points[seen]).argmin(dim=1)
        colours[part] = colours[seen][nearest]
    return colours


def _pixels(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Column, row, depth and whether it is in the picture, [N] each."""
    pixels, depths = camera.project(points.numpy())
    depth = torch.from_numpy(depths).float()
    x, y = torch.from_numpy(np.floor(np.nan_to_num(pixels, nan=-1.0))).long().unbind(1)
    inside = (depth > 0.0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return x, y, depth, inside


def _nearest(x: Tensor, y: Tensor, depth: Tensor, inside: Tensor, camera: Camera) -> Tensor:
    """Depth [N] of the nearest point in a cell of the picture and the cells around it."""
    columns, rows = camera.width // _CELL_PIXELS + 1, camera.height // _CELL_PIXELS + 1
    cell = torch.where(inside, y // _CELL_PIXELS * columns + x // _CELL_PIXELS, 0)
    buffer = torch.full((rows * columns,), torch.inf)
    buffer.scatter_reduce_(0, cell[inside], depth[inside], "amin")
    around = -F.max_pool2d(-buffer.view(1, 1, rows, columns), 3, 1, 1)
    return around.flatten()[cell]
