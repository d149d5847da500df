"""Scores of six-view videos against their definitions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from blender_render.imaging.metrics import psnr
from mnvs.training.metrics import boxes_around, motion_scores, psnr_inside, video_scores


def moving_square(frames: int = 4, speed: int = 2) -> Tensor:
    """[T, 6, 3, 24, 24]: a bright square that walks to the right."""
    video = torch.full((frames, 6, 3, 24, 24), 0.5)
    for t in range(frames):
        for view in range(6):
            left = 2 + t * speed + view % 3
            video[t, view, :, 8:14, left : left + 5] = torch.tensor([0.9, 0.2, 0.4])[:, None, None]
    return video


def test_psnr_against_numpy() -> None:
    truth = moving_square()
    noisy = (truth + 0.05 * torch.randn(truth.shape)).clamp(0, 1)
    error = np.mean((noisy.double().numpy() - truth.double().numpy()) ** 2)
    assert video_scores(noisy, truth)["psnr"] == pytest.approx(10 * math.log10(1 / error), abs=1e-6)


def test_motion_of_the_truth_itself_is_perfect() -> None:
    scores = motion_scores(moving_square(), moving_square())
    assert scores["motion_ratio"] == pytest.approx(1.0)
    assert scores["motion_correlation"] == pytest.approx(1.0)


def test_motion_tells_standing_still_and_moving_otherwise_from_moving_alike() -> None:
    truth = moving_square()
    still = truth[:1].expand_as(truth)
    assert motion_scores(still, truth) == {"motion_ratio": 0.0, "motion_correlation": 0.0}
    backwards = motion_scores(truth.flip(0), truth)
    assert backwards["motion_ratio"] == pytest.approx(1.0)
    assert backwards["motion_correlation"] < 0.3
    half = motion_scores(torch.lerp(truth.mean(0, keepdim=True), truth, 0.5), truth)
    assert half["motion_ratio"] == pytest.approx(0.5, abs=1e-3)
    assert half["motion_correlation"] == pytest.approx(1.0, abs=1e-3)
    flicker = motion_scores(truth + 0.1 * torch.randn(truth.shape), truth)
    assert flicker["motion_ratio"] > 1.5 and flicker["motion_correlation"] < 0.8


def test_a_truth_that_stands_still_has_no_motion_to_compare() -> None:
    still = moving_square()[:1].expand(3, -1, -1, -1, -1)
    assert all(math.isnan(value) for value in motion_scores(still, still).values())


def test_scores_by_view_belong_to_their_views() -> None:
    truth = moving_square()
    generated = truth.clone()
    generated[:, 4] = (generated[:, 4] + 0.2 * torch.rand(generated[:, 4].shape)).clamp(0, 1)
    scores = video_scores(generated, truth)
    assert scores["psnr_view_4"] < 30.0 and scores["ssim_view_4"] < 0.9
    for view in (0, 1, 2, 3, 5):
        assert scores[f"psnr_view_{view}"] == pytest.approx(120.0)
        assert scores[f"ssim_view_{view}"] == pytest.approx(1.0, abs=1e-5)
    assert scores["ssim"] == pytest.approx(
        sum(scores[f"ssim_view_{view}"] for view in range(6)) / 6, abs=1e-5
    )
    assert scores["psnr_still"] == pytest.approx(float(psnr(truth[:1].expand_as(truth), truth)))


def test_boxes_hold_what_is_seen_and_nothing_around_it() -> None:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand(5, 7, 9, generator=generator).pow(4)
    alpha[4] = 0.5  # nothing is more than half there
    boxes = boxes_around(alpha)
    for picture, box in zip(alpha, boxes, strict=True):
        rows, columns = torch.where(picture > 0.5)
        expected = torch.zeros(7, 9, dtype=torch.bool)
        if len(rows):
            expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert torch.equal(box, expected)


def test_psnr_inside_a_box_forgets_the_rest() -> None:
    truth = moving_square()
    box = boxes_around(((truth - 0.5).abs().amax(-3) > 0.05).float())
    assert box.sum() == 4 * 6 * 6 * 5
    wrong = truth.clone()
    wrong[~box.unsqueeze(-3).expand_as(wrong)] = 0.0
    assert psnr_inside(wrong, truth, box) == pytest.approx(120.0)
    wrong[box.unsqueeze(-3).expand_as(wrong)] += 0.1
    assert video_scores(wrong, truth, box)["psnr_box"] == pytest.approx(20.0, abs=1e-4)
    assert math.isnan(psnr_inside(wrong, truth, torch.zeros_like(box)))
