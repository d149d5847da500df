"""Image metrics: layouts, ranges and absent values (their values: see test_losses)."""

import math

import pytest
import torch

from blender_render.imaging.metrics import mean_metrics, psnr, ssim


def test_psnr_per_image_and_for_another_range() -> None:
    truth = torch.zeros(2, 3, 8, 8)
    made = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 0.01)])
    assert psnr(made, truth, per_image=True).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)
    doubled = psnr(2 * made - 1, 2 * truth - 1, peak=2.0)
    assert doubled.item() == pytest.approx(psnr(made, truth).item(), abs=1e-4)


def test_psnr_of_many_numbers_in_double_precision() -> None:
    truth = torch.rand(40, 64, 64, 3)
    made = (truth + 0.03 * torch.randn_like(truth)).clamp(0, 1)
    exact = -10 * (made - truth).double().square().mean().log10()
    assert psnr(made, truth, double=True).item() == exact.item()


def test_ssim_of_either_layout_is_the_same() -> None:
    truth = torch.rand(2, 16, 20, 3)
    made = (truth + 0.1 * torch.randn_like(truth)).clamp(0, 1)
    first = ssim(made.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2), channel_axis=-3)
    assert torch.equal(first, ssim(made, truth))
    video = ssim(made[None], truth[None])
    assert torch.equal(video, ssim(made, truth)), "leading axes are all counted as images"


def test_means_leave_out_rows_without_a_value() -> None:
    rows = [{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 5.0}]
    assert mean_metrics(rows, math.nan) == {"a": 2.0, "b": 5.0}
    assert math.isnan(mean_metrics([{"b": math.nan}], math.nan)["b"])
    assert mean_metrics([{"a": None, "b": 1.0}, {"a": None, "b": 2.0}], None) == {
        "a": None,
        "b": 1.5,
    }


def test_a_metric_that_is_not_a_number_is_not_hidden() -> None:
    mean = mean_metrics([{"psnr": math.nan}, {"psnr": 30.0}], None)["psnr"]
    assert mean is not None and math.isnan(mean)
