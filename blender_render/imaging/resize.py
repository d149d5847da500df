"""Resizing images and depth, as tensors, by exact area averaging."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _area_weights(source: int, target: int) -> Tensor:
    """[target, source]: the share of each source pixel in each target pixel; rows sum to 1."""
    edges = torch.arange(target + 1, dtype=torch.float64) * (source / target)
    left, right = edges[:-1, None], edges[1:, None]
    start = torch.arange(source, dtype=torch.float64)[None]
    overlap = torch.minimum(right, start + 1) - torch.maximum(left, start)
    return (overlap.clamp(min=0.0) * (target / source)).float()


def area_resize(values: Tensor, width: int, height: int) -> Tensor:
    """[H, W, C] → [height, width, C] by exact area averaging, also for ratios that are not whole.

    Linear: pass premultiplied colours (see ``resize_rgba``).
    """
    if values.shape[0] % height == 0 and values.shape[1] % width == 0:
        blocks = (height, values.shape[0] // height, width, values.shape[1] // width)
        return values.reshape(*blocks, values.shape[2]).mean((1, 3))
    rows = _area_weights(values.shape[0], height)
    columns = _area_weights(values.shape[1], width)
    flat = rows @ values.flatten(1)
    return columns @ flat.view(height, values.shape[1], values.shape[2])


def resize_rgba(image: Tensor, width: int, height: int) -> Tensor:
    """Straight-alpha RGBA [H, W, 4] in [0, 1] → the same at another size.

    Colours are averaged with their alpha as weight; where nothing is covered they are 0.
    """
    if image.shape[:2] == (height, width):
        return image
    alpha = image[..., 3:]
    small = area_resize(torch.cat([image[..., :3] * alpha, alpha], -1), width, height)
    cover = small[..., 3:]
    colour = torch.where(cover > 0, small[..., :3] / cover.clamp(min=1e-8), 0.0)
    return torch.cat([colour, cover], -1).clamp_(0.0, 1.0)


def resize_depth(depth: Tensor, width: int, height: int) -> Tensor:
    """Planar depth [H, W] → another size: the mean over the covered part of each new pixel.

    A pixel of which less than half is covered becomes 0 (no surface).
    """
    if depth.shape == (height, width):
        return depth
    valid = (depth > 0).float()
    small = area_resize(torch.stack([depth, valid], -1), width, height)
    return torch.where(small[..., 1] >= 0.5, small[..., 0] / small[..., 1].clamp(min=1e-8), 0.0)
