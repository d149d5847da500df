"""Planar depth as 16-bit PNG: counts × ``depth_scale`` = scene units, 0 = no surface."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_render.imaging.images import mode_name, open_image
from training_core.config import InputError

DEPTH_MAX = 65535


def encode_depth(depth: npt.NDArray[Any], depth_scale: float) -> bytes:
    """16-bit PNG of planar depth [H, W] in scene units (0 or not finite = no surface).

    Raises:
        ValueError: a depth is negative or beyond 65535 × ``depth_scale``.
    """
    values = np.where(np.isfinite(depth), depth, 0.0)
    if values.size and (values.min() < 0.0 or values.max() > DEPTH_MAX * depth_scale * 1.0001):
        raise ValueError(f"depth does not fit 16 bits at {depth_scale} units per count")
    counts = np.clip(np.rint(values / depth_scale), 0, DEPTH_MAX)
    # A surface must not round to "no surface".
    counts = np.where((values > 0.0) & (counts == 0), 1, counts).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(counts).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_depth(raw: bytes, depth_scale: float, where: str) -> npt.NDArray[np.float32]:
    """16-bit grey PNG bytes → planar depth [H, W] in scene units, 0 = no surface.

    Raises:
        InputError: the file is damaged or cut off, or it is not 16-bit grey.
    """
    image = open_image(raw, where)
    if image.mode not in ("I;16", "I;16B", "I"):
        raise InputError(f"{where}: 16-bit grey expected, but it is {mode_name(image.mode)}")
    return np.asarray(image).astype(np.float32) * np.float32(depth_scale)


def depth_scale_for(max_depth: float) -> float:
    """Scene units per count so that ``max_depth`` just fits 16 bits."""
    return max_depth / DEPTH_MAX
