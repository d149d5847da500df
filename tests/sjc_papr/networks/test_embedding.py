"""Positional encoding, layer normalisation and the small networks, against plain loops."""

import math

import pytest
import torch
from torch import Tensor

from sjc_papr.networks.embedding import (
    EmbeddingNetwork,
    SampleLayerNorm,
    encoded_width,
    positional_encoding,
)


@pytest.mark.parametrize("recurrence", [True, False])
@pytest.mark.parametrize("frequencies", [0, 1, 6])
def test_layout_and_values_equal_a_loop(frequencies: int, recurrence: bool) -> None:
    x = torch.randn(4, 3)
    code = positional_encoding(x, frequencies, recurrence=recurrence)
    assert code.shape == (4, encoded_width(3, frequencies))
    for row in range(4):
        expected = []
        for value in x[row].tolist():
            expected.append(value)
            for i in range(frequencies):
                expected += [math.sin(2**i * value), math.cos(2**i * value)]
        assert code[row].tolist() == pytest.approx(expected, abs=2e-5)


def test_recurrence_stays_close_for_long_vectors() -> None:
    x = torch.linspace(-20.0, 20.0, 3000)[:, None]
    doubled = positional_encoding(x, 6, recurrence=True)
    direct = positional_encoding(x, 6, recurrence=False)
    assert (doubled - direct).abs().max() < 1e-4


@pytest.mark.parametrize("recurrence", [True, False])
def test_encoding_gradient(recurrence: bool) -> None:
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: positional_encoding(x, 4, recurrence=recurrence), x)


def test_layer_norm_divides_by_the_sample_deviation() -> None:
    norm = SampleLayerNorm(7)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(7))
        norm.bias.copy_(torch.randn(7))
    x = torch.randn(5, 4, 7) * 3.0 + 2.0
    deviation = ((x - x.mean(-1, keepdim=True)).square().sum(-1, keepdim=True) / 6).sqrt()
    textbook = norm.weight * (x - x.mean(-1, keepdim=True)) / deviation + norm.bias
    assert torch.allclose(norm(x), textbook, atol=1e-5)


def by_hand(network: EmbeddingNetwork, x: Tensor, slope: float, activated: int) -> Tensor:
    """A network without normalisation, layer after layer."""
    inputs, out = x, x
    for i, layer in enumerate(network.layers):
        if i in network.skips:
            out = torch.cat([out, inputs], dim=-1)
        out = out @ layer.weight.T + layer.bias
        if i < activated:
            out = torch.where(out > 0, out, slope * out)
    return out


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.2)])
@pytest.mark.parametrize("activate_last", [True, False])
@pytest.mark.parametrize("skips", [[], [1, 3]])
def test_network_equals_its_layers_by_hand(
    activation: str, slope: float, activate_last: bool, skips: list[int]
) -> None:
    network = EmbeddingNetwork(
        5,
        [8, 6, 7, 4],
        activation=activation,
        normalise=False,
        activate_last=activate_last,
        skips=skips,
    )
    x = torch.randn(3, 2, 5)
    expected = by_hand(network, x, slope, 4 if activate_last else 3)
    assert torch.allclose(network(x), expected, atol=1e-6)


def test_normalised_network_standardises_input_and_output() -> None:
    network = EmbeddingNetwork(5, [8, 6], activation="relu", normalise=True)
    x = torch.randn(10, 5)
    out = network(x)
    assert torch.allclose(out.mean(-1), torch.zeros(10), atol=1e-5)
    assert torch.allclose(out.std(-1), torch.ones(10), atol=1e-4)
    assert torch.allclose(network(100.0 * x + 7.0), out, atol=1e-3)


def test_network_leaves_its_input_alone() -> None:
    x = torch.randn(4, 5)
    before = x.clone()
    EmbeddingNetwork(5, [5], activation="relu", normalise=False, activate_last=True, skips=[0])(x)
    assert torch.equal(x, before)
