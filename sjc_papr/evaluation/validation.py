"""A look at the validation split during training."""

import torch

from blender_render.dataset.readers import Views
from blender_render.imaging.metrics import psnr
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render_cameras
from training_core.metrics_log import MetricsLog

_MOST_VIEWS = 4


class ViewValidation:
    """PSNR on a few views, with images for TensorBoard; called by the training loop.

    Args:
        views: the validation split; at most four of them, evenly spread, are looked at.
    """

    def __init__(self, model: Papr, views: Views, background: float, precision: str) -> None:
        self.model, self.background, self.precision = model, background, precision
        self.chosen = range(0, len(views), -(-len(views) // _MOST_VIEWS))
        self.cameras = [views.cameras[i] for i in self.chosen]
        self.truths = views.composite(background)[list(self.chosen)]

    @staticmethod
    def of(
        model: Papr, views: Views | None, background: float, precision: str
    ) -> "ViewValidation | None":
        """None where there are no views, because validation is switched off."""
        return None if views is None else ViewValidation(model, views, background, precision)

    @torch.inference_mode()
    def __call__(self, log: MetricsLog, step: int) -> float:
        """Log the mean PSNR in dB, and truth, prediction and alpha side by side."""
        outputs = render_cameras(
            self.model, self.cameras, background=self.background, precision=self.precision
        )
        quality, rows = [], []
        for output, truth in zip(outputs, self.truths, strict=True):
            rgb = output.rgb[0].clamp(0.0, 1.0).cpu()
            quality.append(psnr(rgb, truth).item())
            alpha = output.alpha[0].cpu().unsqueeze(-1).expand_as(rgb)
            rows.append(torch.cat([truth, rgb, alpha], dim=1))
        mean = sum(quality) / len(quality)
        log.log(step, {"val/psnr": mean})
        log.image("val/truth_prediction_alpha", torch.cat(rows), step)
        return mean
