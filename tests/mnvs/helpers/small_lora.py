"""Small adapters with numbers in them."""

import torch
from torch import nn

from mnvs.lora.adapters import Lora
from mnvs.lora.settings import LoraSettings

ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def settings(mode: str, **more: object) -> LoraSettings:
    return LoraSettings(mode, rank=3, alpha=6.0, **more)  # type: ignore[arg-type]


def disturb(lora: Lora) -> None:
    """Numbers in every trained tensor, as after training; B starts at zero otherwise."""
    generator = torch.Generator().manual_seed(5)
    for parameter in lora.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += 0.1 * noise
