"""Losses and figures of merit: identity, hand values, gradients, and the absent network."""

import math
import sys

import pytest
import torch

from blender_render.imaging import metrics
from blender_render.imaging.metrics import psnr, ssim
from sjc_papr.training.config import LossConfig
from sjc_papr.training.losses import Losses, dissimilarity, mse
from training_core.config import ConfigError


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.rand(2, 16, 14, 3)
    return (truth + 0.1 * torch.randn_like(truth)).clamp(0.0, 1.0), truth


def test_identical_pictures(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, truth = images
    assert mse(truth, truth).item() == 0.0
    assert dissimilarity(truth, truth).item() == pytest.approx(0.0, abs=1e-5)
    assert ssim(truth, truth).item() == pytest.approx(1.0, abs=1e-5)
    assert psnr(truth, truth).item() == pytest.approx(120.0, abs=0.1)  # its ceiling


def test_hand_values() -> None:
    truth = torch.zeros(1, 12, 12, 3)
    off = truth.clone()
    off[..., 0] = 0.3
    assert mse(off, truth).item() == pytest.approx(0.03)
    assert psnr(off, truth).item() == pytest.approx(-10.0 * math.log10(0.03), abs=1e-4)
    assert psnr(truth + 0.1, truth).item() == pytest.approx(20.0, abs=1e-4)


def test_ssim_of_flat_pictures() -> None:
    """Without structure only luminance is left: (2ab + C1) / (a² + b² + C1), C1 = 0.01²."""
    a, b = 0.4, 0.6
    flat = torch.full((1, 24, 24, 3), a)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(flat, torch.full_like(flat, b)).item() == pytest.approx(expected, abs=1e-3)


def test_ssim_loss_pulls_towards_the_truth(
    images: tuple[torch.Tensor, torch.Tensor],
) -> None:
    prediction, truth = images
    prediction = prediction.requires_grad_(True)
    loss = dissimilarity(prediction, truth)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.isfinite().all() and gradient.abs().max() > 0.0
    better = dissimilarity(prediction - 0.5 * gradient / gradient.norm(), truth)
    assert better < loss


def test_terms_are_weighted_once_and_returned_raw(
    images: tuple[torch.Tensor, torch.Tensor],
) -> None:
    total, terms = Losses(LossConfig(mse=2.0, ssim=0.5))(*images)
    assert {name: weight for name, (weight, _) in terms.items()} == {"mse": 2.0, "ssim": 0.5}
    raw = {name: value for name, (_, value) in terms.items()}
    assert raw["mse"].item() == pytest.approx(mse(*images).item())
    assert total.item() == pytest.approx(2.0 * raw["mse"].item() + 0.5 * raw["ssim"].item())
    assert set(Losses(LossConfig(mse=1.0, ssim=0.0))(*images)[1]) == {"mse"}


def test_lpips_that_is_not_installed_is_an_error_not_a_substitute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    metrics.lpips_network.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"losses\.lpips"):
            Losses(LossConfig(lpips=0.1))
        assert metrics.lpips_network() is None
    finally:
        metrics.lpips_network.cache_clear()
