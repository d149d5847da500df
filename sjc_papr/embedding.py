"""Positional encoding and the small networks that turn geometry into keys, queries and values."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAK = 0.2


def encoded_width(inputs: int, frequencies: int) -> int:
    """Width of ``positional_encoding`` of ``inputs`` numbers."""
    return inputs * (1 + 2 * frequencies)


def positional_encoding(x: Tensor, frequencies: int, *, recurrence: bool = True) -> Tensor:
    """x, sin(2^i x), cos(2^i x) for i < frequencies, grouped by input coordinate.

    The order per coordinate is x, sin x, cos x, sin 2x, cos 2x, ... as in zvict/papr
    models/utils.py, so that its weights can be read.

    Args:
        x: [..., n].
        recurrence: compute the first sine and cosine only and double the angle for the others. That
            is several times cheaper and costs about 2^frequencies rounding errors (4e-6 at six).

    Returns:
        [..., n * (1 + 2 * frequencies)].
    """
    return _PositionalEncoding.apply(x, frequencies, recurrence).flatten(-2)


class _PositionalEncoding(torch.autograd.Function):
    """The backward pass needs nothing but the sines and cosines of the forward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frequencies: int, recurrence: bool) -> Tensor:
        code = x.new_empty(*x.shape, 1 + 2 * frequencies)
        code[..., 0] = x
        for i in range(frequencies):
            sine, cosine = code[..., 1 + 2 * i], code[..., 2 + 2 * i]
            if i == 0 or not recurrence:
                angle = x * 2.0**i
                sine.copy_(angle.sin())
                cosine.copy_(angle.cos())
            else:
                half_sine, half_cosine = code[..., 2 * i - 1], code[..., 2 * i]
                torch.mul(half_sine, half_cosine, out=sine).mul_(2.0)
                torch.mul(half_sine, half_sine, out=cosine).mul_(-2.0).add_(1.0)
        ctx.save_for_backward(code)
        return code

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (code,), (gradient,) = ctx.saved_tensors, gradients
        octaves = code.shape[-1] // 2
        frequency = 2.0 ** torch.arange(octaves, dtype=code.dtype, device=code.device)
        slope = gradient[..., 1::2] * code[..., 2::2] - gradient[..., 2::2] * code[..., 1::2]
        return gradient[..., 0] + slope @ frequency, None, None


class SampleLayerNorm(nn.Module):
    """Layer normalisation by the sample standard deviation (n - 1), as PAPR's published network
    has it.

    The two definitions differ by the constant factor sqrt((n - 1) / n), which goes into the weight
    of the fused kernel. zvict/papr adds its epsilon to the deviation; at 1e-6 the difference is
    below rounding.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.features = features
        self.to_sample = ((features - 1) / features) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.features,), self.weight * self.to_sample, self.bias, 1e-12)


class EmbeddingNetwork(nn.Module):
    """A plain multi-layer perceptron, with the normalisation and skip connections PAPR uses.

    Args:
        inputs: width of the input.
        widths: width after each linear layer.
        activation: follows every layer but the last, and the last too with ``activate_last``.
        normalise: layer normalisation of input and output.
        skips: indices of linear layers that also receive the network's input.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        *,
        activation: str,
        normalise: bool,
        activate_last: bool = False,
        skips: Sequence[int] = (),
    ) -> None:
        super().__init__()
        widths_in = [inputs, *widths[:-1]]
        for i in skips:
            widths_in[i] += inputs
        linear = [nn.Linear(a, b) for a, b in zip(widths_in, widths, strict=True)]
        for layer in linear:
            nn.init.xavier_uniform_(layer.weight)
        self.layers = nn.ModuleList(linear)
        self.skips = frozenset(skips)
        self.slope = _LEAK if activation == "leaky_relu" else 0.0
        self.activated = len(self.layers) if activate_last else len(self.layers) - 1
        self.input_norm = SampleLayerNorm(inputs) if normalise else nn.Identity()
        self.output_norm = SampleLayerNorm(widths[-1]) if normalise else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., widths[-1]]."""
        x = inputs = self.input_norm(x)
        for i, layer in enumerate(self.layers):
            x = layer(torch.cat([x, inputs], dim=-1) if i in self.skips else x)
            if i < self.activated:
                x = F.leaky_relu(x, self.slope, inplace=True)
        return self.output_norm(x)
