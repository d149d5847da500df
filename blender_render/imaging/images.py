"""Decoding PNG files into tensors, and resizing them by exact area averaging."""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from training_core.config import InputError

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    zlib.error,
    struct.error,
    Image.DecompressionBombError,
)


def decode_rgba(raw: bytes, where: str) -> npt.NDArray[np.uint8]:
    """PNG bytes → [H, W, 4] uint8, straight alpha.

    Raises:
        InputError: the file is damaged or cut off, or it is not 8-bit RGBA.
    """
    image = _load(raw, where)
    if image.mode != "RGBA":
        raise InputError(f"{where}: RGBA expected, but the picture is {_mode_name(image.mode)}")
    return np.asarray(image)


def decode_depth(raw: bytes, depth_scale: float, where: str) -> npt.NDArray[np.float32]:
    """16-bit grey PNG bytes → [H, W] float32 planar depth in scene units, 0 = no surface.

    Raises:
        InputError: the file is damaged or cut off, or it is not 16-bit grey.
    """
    image = _load(raw, where)
    if image.mode not in ("I;16", "I;16B", "I"):
        raise InputError(f"{where}: 16-bit grey expected, but it is {_mode_name(image.mode)}")
    return np.asarray(image).astype(np.float32) * np.float32(depth_scale)


def _load(raw: bytes, where: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(raw))
        image.load()
    except DECODE_ERRORS as error:
        raise InputError(f"{where}: damaged or cut-off picture ({error})".splitlines()[0]) from None
    return image


def _mode_name(mode: str) -> str:
    names = {"RGB": "RGB without alpha", "L": "grey without alpha", "P": "a palette picture"}
    return names.get(mode, f"of mode {mode}")


def encode_rgba(picture: npt.NDArray[np.uint8]) -> bytes:
    """[H, W, 4] uint8 → PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture, mode="RGBA").save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


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


def resize_rgba(picture: Tensor, width: int, height: int) -> Tensor:
    """Straight-alpha RGBA [H, W, 4] in [0, 1] → the same at another size.

    Colours are averaged with their alpha as weight; where nothing is covered they are 0.
    """
    if picture.shape[:2] == (height, width):
        return picture
    alpha = picture[..., 3:]
    small = area_resize(torch.cat([picture[..., :3] * alpha, alpha], -1), width, height)
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
