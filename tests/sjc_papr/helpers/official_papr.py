"""Numbers computed with the official PAPR code, and a checkpoint in its layout."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FILE = Path(__file__).parents[2] / "fixtures" / "papr_official.npz"
PIXEL_ROWS = slice(1, None, 4)  # those whose attention and features are kept


@cache
def official_numbers() -> dict[str, np.ndarray]:
    """By name; see tests/fixtures/README.md."""
    with np.load(FILE) as file:
        return {name: file[name] for name in file.files}


def official_tensors(unet_base: int = 8) -> dict[str, Tensor]:
    """An official state dict: its points and attention, with a small random UNet."""
    prefix = "weights."
    tensors = {
        name.removeprefix(prefix): torch.from_numpy(value.copy())
        for name, value in official_numbers().items()
        if name.startswith(prefix)
    }
    width, base = official_numbers()["features"].shape[-1], unet_base
    shapes = {
        "inc.double_conv.0": (base, width, 3, 3),
        "down1.maxpool_conv.1.double_conv.0": (2 * base, base, 3, 3),
        "down2.maxpool_conv.1.double_conv.0": (4 * base, 2 * base, 3, 3),
        "up1.up": (4 * base, 2 * base, 2, 2),
        "up1.conv.double_conv.0": (2 * base, 4 * base, 3, 3),
        "up2.up": (2 * base, base, 2, 2),
        "up2.conv.double_conv.0": (base, 2 * base, 3, 3),
        "outc.conv": (3, base, 1, 1),
    }
    generator = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        outputs = shape[1] if name.endswith(".up") else shape[0]  # transposed convolutions
        weight = torch.randn(shape, generator=generator) * 0.1
        tensors[f"renderer.{name}.weight"] = weight.half()
        tensors[f"renderer.{name}.bias"] = torch.zeros(outputs).half()
    return tensors
