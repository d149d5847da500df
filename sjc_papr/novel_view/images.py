"""Images of novel views for TensorBoard."""

import torch
from torch import Tensor

from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.training.trainer import Trainer
from training_core.metrics_log import MetricsLog


class NovelViewImages:
    """Logs the latest novel view; called by the training loop."""

    def __init__(self, trainer: Trainer, novel: NovelViews) -> None:
        self.trainer, self.novel = trainer, novel

    def __call__(self, log: MetricsLog, step: int) -> None:
        """Render beside its one-step denoised version, depth, and near view, warp and mask."""
        seen = self.trainer.images
        if "denoised" in seen and self.novel.sjc is not None:
            denoised = self.novel.sjc.model.decode(seen["denoised"])[0].permute(1, 2, 0)
            log.image("novel/render_denoised", _beside(seen["render"], denoised), step)
        if "depth" in seen:
            log.image("novel/depth", _grey(seen["depth"], seen["alpha"]), step)
        if "near" in seen:
            row = [seen["near"], seen["near_warped"], seen["near_mask"]]
            log.image("novel/near_warp_mask", _beside(*row), step)


def _beside(first: Tensor, *others: Tensor) -> Tensor:
    """Images [H, W, 3] in a row, at the height of the first."""
    height, width = first.shape[:2]
    row = [first.permute(2, 0, 1)[None]]
    for other in others:
        row.append(torch.nn.functional.interpolate(other.permute(2, 0, 1)[None], (height, width)))
    return torch.cat(row, dim=-1)[0].permute(1, 2, 0).clamp(0.0, 1.0).cpu()


def _grey(depth: Tensor, alpha: Tensor) -> Tensor:
    """Depth [H, W] as grey [H, W, 3], near = bright, white where there is no object."""
    shown = alpha > 0.5
    if not bool(shown.any()):
        return torch.ones(*depth.shape, 3)
    near, far = depth[shown].min(), depth[shown].max()
    grey = 0.9 - 0.8 * (depth - near) / (far - near).clamp_min(1e-6)
    return torch.where(shown, grey, 1.0)[..., None].expand(-1, -1, 3).cpu()
