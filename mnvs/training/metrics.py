"""Metrics of a generated six-view video against the rendered one: images and motion."""

from torch import Tensor

from blender_render.imaging.metrics import psnr, ssim
from mnvs.data.tiles import VIEWS


def motion_scores(generated: Tensor, truth: Tensor) -> dict[str, float]:
    """The differences between successive frames, compared with the truth's.

    Args:
        generated, truth: [T, ..., h, w] in [0, 1].

    Returns:
        ``motion_ratio``: size of the generated differences over the truth's: 0 = no motion, 1
        = as much. ``motion_correlation``: of the two fields of differences: 1 = the same
        motion, 0 = unrelated. Both are NaN where the truth stands still.
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

    ``psnr_still`` is the PSNR of the truth's first frame repeated: a video that does not exceed it
    has learned no motion.
    """

    def quality(video: Tensor, reference: Tensor) -> float:
        return float(psnr(video, reference, double=True))

    def structure(video: Tensor, reference: Tensor) -> float:
        return float(ssim(video, reference, channel_axis=-3))

    scores = {
        "psnr": quality(generated, truth),
        "ssim": structure(generated, truth),
        **motion_scores(generated, truth),
        "psnr_still": quality(truth[:1].expand_as(truth), truth),
    }
    for view in range(VIEWS):
        scores[f"psnr_view_{view}"] = quality(generated[:, view], truth[:, view])
        scores[f"ssim_view_{view}"] = structure(generated[:, view], truth[:, view])
    return scores
