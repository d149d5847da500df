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


def boxes_around(alpha: Tensor) -> Tensor:
    """The smallest upright rectangle around the object in each picture: alpha [..., h, w] in
    [0, 1] → bool of the same shape. All False where nothing is more than half opaque.
    """
    seen = alpha > 0.5

    def spanned(line: Tensor) -> Tensor:
        first, last = line.int().cummax(-1).values, line.flip(-1).int().cummax(-1).values.flip(-1)
        return (first & last).bool()

    return spanned(seen.any(-1)).unsqueeze(-1) & spanned(seen.any(-2)).unsqueeze(-2)


def psnr_inside(video: Tensor, truth: Tensor, box: Tensor) -> float:
    """PSNR in dB of the pixels of ``box``, bool [..., h, w]; NaN where there are none.

    Args:
        video, truth: [..., 3, h, w] in [0, 1].
    """
    inside = box.unsqueeze(-3).expand_as(truth)
    if not bool(box.any()):
        return float("nan")
    return float(psnr(video[inside], truth[inside], double=True))


def reference_scores(video: Tensor, truth: Tensor, box: Tensor | None) -> dict[str, float]:
    """``psnr`` and, with a box, ``psnr_box``: of what a generated video is compared with, too."""
    scores = {"psnr": float(psnr(video, truth, double=True))}
    return scores if box is None else scores | {"psnr_box": psnr_inside(video, truth, box)}


def video_scores(generated: Tensor, truth: Tensor, box: Tensor | None = None) -> dict[str, float]:
    """All figures of a six-view video, each view as well: [T, 6, 3, h, w] twice, in [0, 1].

    ``psnr_still`` is the PSNR of the truth's first frame repeated: a video that does not exceed it
    has learned no motion. ``psnr_box`` is that inside ``box``, bool [T, 6, h, w], for which see
    ``boxes_around``: over the whole picture an empty background flatters everything.
    """

    def quality(video: Tensor, reference: Tensor) -> float:
        return float(psnr(video, reference, double=True))

    def structure(video: Tensor, reference: Tensor) -> float:
        return float(ssim(video, reference, channel_axis=-3))

    scores = {
        **reference_scores(generated, truth, box),
        "ssim": structure(generated, truth),
        **motion_scores(generated, truth),
        "psnr_still": quality(truth[:1].expand_as(truth), truth),
    }
    for view in range(VIEWS):
        scores[f"psnr_view_{view}"] = quality(generated[:, view], truth[:, view])
        scores[f"ssim_view_{view}"] = structure(generated[:, view], truth[:, view])
    return scores
