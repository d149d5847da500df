"""How near a generated six-view video comes to the rendered one, in pictures and in motion."""

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from mnvs.data.tiles import VIEWS


def psnr(generated: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1], over everything given."""
    error = (generated - truth).double().square().mean().clamp(min=1e-12)
    return float(-10.0 * torch.log10(error))


def ssim(generated: Tensor, truth: Tensor) -> float:
    """Mean structural similarity of pictures [..., 3, h, w] in [0, 1]; 11 pixel Gaussian, σ 1.5."""
    value = structural_similarity_index_measure(
        generated.flatten(0, -4).float(), truth.flatten(0, -4).float(), data_range=1.0
    )
    assert isinstance(value, Tensor)
    return float(value)


def motion_scores(generated: Tensor, truth: Tensor) -> dict[str, float]:
    """How frames differ from the ones before, against how the truth's do.

    Args:
        generated, truth: [T, ..., h, w] in [0, 1].

    Returns:
        ``motion_ratio``: size of the generated differences over the truth's: 0 stands still, 1
        moves as much. ``motion_correlation``: of the two fields of differences: 1 moves alike,
        0 has nothing to do with it. Both are NaN where the truth stands still.
    """
    ours, theirs = (x.double().diff(dim=0).flatten() for x in (generated, truth))
    if len(theirs) == 0 or not bool(theirs.any()):
        return {"motion_ratio": float("nan"), "motion_correlation": float("nan")}
    ratio = ours.abs().mean() / theirs.abs().mean()
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    correlation = (ours @ theirs) / (ours.norm() * theirs.norm()).clamp(min=1e-12)
    return {"motion_ratio": float(ratio), "motion_correlation": float(correlation)}


def video_scores(generated: Tensor, truth: Tensor) -> dict[str, float]:
    """All figures of a six-view video, each view as well: [T, 6, 3, h, w] twice, in [0, 1].

    ``psnr_still`` is what the truth's own first frame, standing still, would score: a video that
    does not beat it has learned no motion.
    """
    scores = {
        "psnr": psnr(generated, truth),
        "ssim": ssim(generated, truth),
        **motion_scores(generated, truth),
        "psnr_still": psnr(truth[:1].expand_as(truth), truth),
    }
    for view in range(VIEWS):
        scores[f"psnr_view_{view}"] = psnr(generated[:, view], truth[:, view])
        scores[f"ssim_view_{view}"] = ssim(generated[:, view], truth[:, view])
    return scores
