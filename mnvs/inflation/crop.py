"""The square around an object in its picture, and the camera that takes this square alone."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera
from training_core.config import InputError

_SHOWN = 0.5


class Square(NamedTuple):
    """Left, top and side in pixels of the picture; may reach beyond it."""

    left: float
    top: float
    side: float


def object_square(alpha: Tensor, fill: float) -> Square:
    """The square in whose middle the object of alpha [..., H, W] lies.

    Several pictures (leading axes) get one square for all.

    Args:
        fill: share of the side that the object's longer side takes.

    Raises:
        InputError: nothing is shown.
    """
    shown = (alpha >= _SHOWN).reshape(-1, *alpha.shape[-2:]).any(0)
    rows, columns = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    if not len(rows):
        raise InputError("no object: alpha is below one half everywhere")
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side = max(bottom - top, right - left) / fill
    return Square((left + right - side) / 2, (top + bottom - side) / 2, side)


def cut_out(rgba: Tensor, square: Square, size: int) -> Tensor:
    """The square of straight-alpha pictures [B, H, W, 4], nothing where it reaches beyond them.

    Returns:
        RGBA [B, 4, size, size], colours multiplied by alpha.
    """
    picture = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], dim=-1).movedim(-1, 1)
    height, width = picture.shape[-2:]
    shrink = square.side / size
    if shrink > 1.0:  # a sample between pixels would skip some
        height, width = max(1, round(height / shrink)), max(1, round(width / shrink))
        picture = F.interpolate(picture, (height, width), mode="bilinear", antialias=True)
    scale = torch.tensor([width / rgba.shape[2], height / rgba.shape[1]])
    steps = (torch.arange(size) + 0.5) / size * square.side
    x = (square.left + steps) * scale[0] * 2.0 / width - 1.0
    y = (square.top + steps) * scale[1] * 2.0 / height - 1.0
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return F.grid_sample(picture, grid.expand(len(picture), -1, -1, -1), align_corners=False)


def cut_camera(camera: Camera, square: Square, size: int) -> Camera:
    """The camera of ``cut_out``'s picture."""
    scale = size / square.side
    return Camera(
        camera.cam_to_world,
        size,
        size,
        camera.fl_x * scale,
        camera.fl_y * scale,
        (camera.cx - square.left) * scale,
        (camera.cy - square.top) * scale,
    )
