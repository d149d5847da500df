"""The fast path against the plain one: images, gradients, number formats."""

from dataclasses import replace

import pytest
import torch
from plain_papr import plain_render
from tiny_scene import one_view, small_config, small_model, sphere_points
from torch import Tensor

from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.embedding import SampleLayerNorm, _variance_and_mean, normalised_product
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render

FORMS = [
    {"offsets": "relative"},
    {"offsets": "centred", "score_activation": "relu", "activation": "relu"},
    {"offsets": "official", "proximity": False, "value_layers": 4, "value_skips": [1]},
    {"normalise": False},
]


def with_random_norms(model: Papr) -> Papr:
    """Weights and biases of the norms away from one and zero, where mistakes would hide."""
    for module in model.modules():
        if isinstance(module, SampleLayerNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    return model


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_picture_and_gradients_equal_the_plain_path(form: dict) -> None:
    model, rays = with_random_norms(small_model(**form)), one_view()
    weights = torch.randn(*rays.directions.shape)
    gradients: list[dict[str, Tensor]] = []
    images = []
    for image in (render(model, rays).rgb, plain_render(model, rays)):
        model.zero_grad()
        (image * weights).sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        images.append(image.detach())
    assert (images[0] - images[1]).abs().max() < 1e-4
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[1].items():
        allowed = 1e-3 * expected.abs().max() + 1e-6
        assert (gradients[0][name] - expected).abs().max() <= allowed, name


def full_width_model() -> Papr:
    """The networks of the published size on a small cloud."""
    attention = AttentionConfig(
        width=256, score_width=256, key_layers=5, query_layers=5, value_layers=8
    )
    config = ModelConfig(attention=attention, neighbours=20, unet_base=128)
    return Papr(config, sphere_points(2000, 64))


@pytest.mark.slow
@pytest.mark.parametrize("size", ["full", "default"])
def test_stated_numerics_of_both_formats(size: str) -> None:
    """The documentation promises 1e-4 in float32 and 1e-2 in bfloat16."""
    default = replace(small_config(), attention=AttentionConfig(), unet_base=32)
    model = full_width_model() if size == "full" else Papr(default, sphere_points(2000))
    rays = one_view((48, 48))
    with torch.no_grad():
        plain = plain_render(model, rays)
        assert (render(model, rays, precision="float32").rgb - plain).abs().max() < 1e-4
        assert (render(model, rays, precision="bfloat16").rgb - plain).abs().max() < 1e-2


def test_normalised_product_has_the_right_gradients() -> None:
    norm = SampleLayerNorm(7).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (torch.randn(3, 4, 7, dtype=torch.float64) * 2.0 + 1.0).requires_grad_()
    query = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, q: normalised_product(x, q, norm), (x, query))
    by_hand = (norm(x) * query.unsqueeze(-2)).sum(-1)
    assert torch.allclose(normalised_product(x, query, norm), by_hand.to(torch.float64), atol=1e-6)


def test_deviations_are_those_of_one_exact_pass() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-3, 3, 40)[:, None, None]
    x = spread * torch.randn(40, 5, 64, generator=generator) + 10.0 * spread
    for precise, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        variance, mean = _variance_and_mean(x.to(precise))
        true_variance, true_mean = torch.var_mean(x.double(), dim=-1)
        torch.testing.assert_close(variance.double(), true_variance, rtol=rtol, atol=0.0)
        torch.testing.assert_close(mean.double(), true_mean, rtol=rtol, atol=0.0)


def test_normalised_product_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = SampleLayerNorm(16)
    results = []
    for numbers in (1 << 20, 100):
        monkeypatch.setattr("sjc_papr.networks.embedding._CACHED_NUMBERS", numbers)
        x, query = (
            torch.linspace(-1, 2, 9 * 4 * 16).view(9, 4, 16).sin(),
            torch.ones(9, 16).cumsum(1),
        )
        x.requires_grad_()
        product = normalised_product(x, query, norm)
        product.square().sum().backward()
        results.append((product.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
