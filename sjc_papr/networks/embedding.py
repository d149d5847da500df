"""Positional encoding and the small networks that turn geometry into keys, queries and values."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sjc_papr.networks.point_cloud import gather_rows

_LEAK = 0.2
_CACHED_NUMBERS = 1 << 19


def encoded_width(inputs: int, frequencies: int) -> int:
    """Width of ``positional_encoding`` of ``inputs`` numbers."""
    return inputs * (1 + 2 * frequencies)


def positional_encoding(
    x: Tensor,
    frequencies: int,
    *,
    recurrence: bool = True,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """x, sin(2^i x), cos(2^i x) for i < frequencies, grouped by input coordinate.

    The order per coordinate is x, sin x, cos x, sin 2x, cos 2x, ... as in zvict/papr
    models/utils.py, so that its weights can be read.

    Args:
        x: [..., n].
        recurrence: compute the first sine and cosine only and double the angle for the others. That
            is several times cheaper and costs about 2^frequencies rounding errors (4e-6 at six).
        dtype: format of the result, by default that of ``x``, which everything is computed in.

    Returns:
        [..., n * (1 + 2 * frequencies)].
    """
    code: Tensor = _PositionalEncoding.apply(x, frequencies, recurrence, dtype or x.dtype)
    return code.flatten(-2)


class _PositionalEncoding(torch.autograd.Function):
    """The backward pass needs nothing but the sines and cosines of the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, frequencies: int, recurrence: bool, dtype: torch.dtype
    ) -> Tensor:
        code = x.new_empty(*x.shape, 1 + 2 * frequencies, dtype=dtype)
        code[..., 0] = x
        for i in range(frequencies):
            if i == 0 or not recurrence:
                angle = x * 2.0**i
                sine, cosine = angle.sin(), angle.cos()
            else:
                sine, cosine = 2.0 * sine * cosine, 1.0 - 2.0 * sine.square()
            code[..., 1 + 2 * i], code[..., 2 + 2 * i] = sine, cosine
        ctx.save_for_backward(code)
        ctx.dtype = x.dtype
        return code

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (code,), (gradient,) = ctx.saved_tensors, gradients
        slope = torch.zeros_like(gradient[..., 0], dtype=ctx.dtype)
        # From the highest octave down, so that doubling replaces the factors 2^i.
        for i in reversed(range(code.shape[-1] // 2)):
            sine, cosine = 1 + 2 * i, 2 + 2 * i
            slope = 2.0 * slope + (
                gradient[..., sine] * code[..., cosine] - gradient[..., cosine] * code[..., sine]
            )
        return gradient[..., 0] + slope, None, None, None


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


def normalised_product(x: Tensor, query: Tensor, norm: SampleLayerNorm) -> Tensor:
    """``(norm(x) * query.unsqueeze(-2)).sum(-1)`` without ever holding ``norm(x)``.

    Normalised rows have mean zero, so the product with the centred query needs their deviation
    only: x · q' / σ. The weight of the norm goes into the query, its bias adds one number a query.

    Args:
        x: [..., K, n]. query: [..., n].

    Returns:
        [..., K], in float32 or, where ``x`` is, in float64.
    """
    weighted = query * norm.weight.to(query.dtype)
    centred = weighted - weighted.mean(dim=-1, keepdim=True)
    shape = x.shape[:-1]
    product: Tensor = _StandardisedProduct.apply(
        x.reshape(-1, *x.shape[-2:]), centred.reshape(-1, x.shape[-1]).to(x.dtype)
    )
    of_bias = (query * norm.bias.to(query.dtype)).sum(-1, keepdim=True)
    return product.view(shape) + of_bias.to(product.dtype)


class _StandardisedProduct(torch.autograd.Function):
    """x · q / σ(x) for x [R, K, n] and centred q [R, n], a few rows at a time.

    With m = x · q / σ the gradient is (q - (x - μ) m / ((n - 1) σ)) / σ for x and x / σ for q.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, query: Tensor) -> Tensor:
        precise = torch.promote_types(x.dtype, torch.float32)
        variance, mean = (x.new_empty(x.shape[:-1], dtype=precise) for _ in range(2))
        for rows in _parts(x):
            variance[rows], mean[rows] = _variance_and_mean(x[rows].to(precise))
        scale = (variance + 1e-12).rsqrt()
        product = (x @ query.unsqueeze(-1)).squeeze(-1).to(precise) * scale
        ctx.save_for_backward(x, query, mean, scale, product)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, query, mean, scale, product = ctx.saved_tensors
        slope = gradients[0] * scale
        pull = slope * scale * product / (x.shape[-1] - 1)
        to_query = (slope.to(x.dtype).unsqueeze(-2) @ x).squeeze(-2)
        to_x = torch.empty_like(x)
        for rows in _parts(x):
            centred = x[rows] - mean[rows].unsqueeze(-1)
            wanted = slope[rows].unsqueeze(-1) * query[rows].unsqueeze(-2)
            to_x[rows] = wanted.addcmul_(pull[rows].unsqueeze(-1), centred, value=-1.0)
        return to_x, to_query


def _variance_and_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sample variance and mean over the last dimension, as of ``torch.var_mean``, which on CPUs is
    not vectorised and takes ten times as long.
    """
    if x.is_cuda:
        return torch.var_mean(x, dim=-1)
    mean = x.mean(dim=-1)
    centred = x - mean.unsqueeze(-1)
    return centred.square_().sum(dim=-1) / (x.shape[-1] - 1), mean


def _parts(x: Tensor) -> Iterator[slice]:
    """Slices of the first dimension whose intermediates fit a processor's cache; one on a GPU."""
    rows = x.shape[0] if x.is_cuda else max(1, _CACHED_NUMBERS // x[0].numel())
    return (slice(start, start + rows) for start in range(0, x.shape[0], rows))


class PairInputs(NamedTuple):
    """What a network sees of R rays and their K points, by what it depends on.

    Attributes:
        ray: [..., 1, a], or None. pair: [..., K, b].
        table: of all points, [P, c]. indices: which of them belong to a pair, [..., K].
    """

    ray: Tensor | None
    pair: Tensor
    table: Tensor
    indices: Tensor

    def joined(self) -> Tensor:
        """[..., K, a + b + c]."""
        # Rows are gathered in float32, so that their gradients are summed in it.
        points = gather_rows(self.table, self.indices).to(self.pair.dtype)
        ray = [] if self.ray is None else [self.ray.expand(*points.shape[:-1], -1)]
        return torch.cat([*ray, self.pair, points], dim=-1)


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
        return self.output_norm(self.before_norm(x))

    def before_norm(self, x: Tensor) -> Tensor:
        """The same without the normalisation of the output."""
        # Rows, because a linear layer of more dimensions returns a view, and an activation in place
        # on a view makes autograd copy the whole tensor in the backward pass.
        rows = self.input_norm(x.flatten(0, -2))
        return self._from_layer(0, rows, rows).unflatten(0, x.shape[:-1])

    def of_pairs(self, inputs: PairInputs) -> Tensor:
        """``forward`` of ``inputs.joined()``, its first layer split by what the inputs depend on.

        In float32 that halves the layer's time on a CPU: points are fewer than pairs. In bfloat16
        products are so cheap that gathering wider rows costs what they save (docs/papr.md).
        Published weights, which see nothing that depends on the ray alone, keep the order of
        summation they were trained with.
        """
        ray, pair, table, indices = inputs
        whole = self.skips or isinstance(self.input_norm, SampleLayerNorm) or ray is None
        if whole or pair.dtype != torch.float32:
            return self(inputs.joined())
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear) and ray is not None
        widths = [part.shape[-1] for part in (ray, pair, table)]
        of_ray, of_pair, of_point = layer.weight.split(widths, dim=1)
        x = F.linear(pair, of_pair) + F.linear(ray, of_ray, layer.bias)
        x = x.add_(gather_rows(F.linear(table, of_point), indices))
        x = F.leaky_relu(x, self.slope, inplace=True) if self.activated > 0 else x
        rows = self._from_layer(1, x.flatten(0, -2), x)
        return self.output_norm(rows).unflatten(0, x.shape[:-1])

    def _from_layer(self, first: int, x: Tensor, inputs: Tensor) -> Tensor:
        """Rows through the layers from number ``first`` on; skip connections see ``inputs``."""
        for i, layer in enumerate(self.layers):
            if i < first:
                continue
            x = layer(torch.cat([x, inputs], dim=-1) if i in self.skips else x)
            if i < self.activated:
                x = F.leaky_relu(x, self.slope, inplace=True)
        return x
