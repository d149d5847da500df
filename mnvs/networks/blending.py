"""Blending of spatial and temporal layers: a blender in float32, and its start values."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from diffusers.models.resnet import AlphaBlender
from torch import Tensor, nn

TEMPORAL_STARTS = ("svd", "gated", "off")
# sigmoid(4.595) = .99: nearly the spatial model, while the temporal side has a weight of 1 % and a
# gradient. At 1e4 both would be exactly zero.
GATED_MIX_FACTOR = math.log(0.99 / 0.01)


class Float32Blender(AlphaBlender):
    """alpha * spatial + (1 - alpha) * temporal, alpha = sigmoid(mix_factor), always in float32.

    In bfloat16 an alpha of .999 is 1: the temporal side would get neither weight nor gradient.
    """

    def forward(
        self, x_spatial: Tensor, x_temporal: Tensor, image_only_indicator: Tensor | None = None
    ) -> Tensor:
        alpha = self.get_alpha(image_only_indicator, x_spatial.ndim)
        blended = alpha * x_spatial + (1.0 - alpha) * x_temporal
        return blended.to(x_spatial.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Float32Blender:
        """Follow the model to another device, but not to another precision."""
        before = self.mix_factor.data
        super()._apply(fn, recurse)
        after = self.mix_factor.data
        if after.dtype != torch.float32:
            exact = after if before.is_meta else before  # nothing can be read from meta tensors
            self.mix_factor.data = exact.to(after.device, torch.float32)
        return self


def set_mix_factors(model: nn.Module, mix_factor: float) -> None:
    """Give every blender of `model` the same spatial weight, sigmoid(mix_factor)."""
    for module in model.modules():
        if isinstance(module, Float32Blender):
            module.mix_factor.data.fill_(mix_factor)


def check_temporal_start(value: str) -> None:
    """Raises ValueError unless `value` is one of `TEMPORAL_STARTS`."""
    if value not in TEMPORAL_STARTS:
        raise ValueError(f"temporal_start: {value!r} is not one of: {', '.join(TEMPORAL_STARTS)}")
