"""Metrics of rendered views against held-out images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.imaging.depth import depth_scale_for, encode_depth
from blender_render.imaging.images import write_png
from blender_render.imaging.metrics import lpips_network, mean_metrics, psnr, ssim
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render_cameras
from training_core.files import atomic
from training_core.metrics_log import progress_bar


@dataclass(frozen=True)
class ViewMetrics:
    """Figures of one view.

    Attributes:
        psnr: dB over the whole image. ssim. lpips: None without its network.
        depth_mae: mean absolute error of planar depth where truth has a surface, in the dataset's
            units; None without truth.
        holes: share of the pixels that the object covers wholly (true alpha of 0.99 or more) where
            the render's alpha is below one half; None where it covers none.
    """

    name: str
    psnr: float
    ssim: float
    lpips: float | None
    depth_mae: float | None
    holes: float | None = None


@torch.inference_mode()
def evaluate_views(
    model: Papr,
    views: Views,
    *,
    background: float,
    precision: str,
    max_rays: int = 16384,
    images: Path | None = None,
    prefix: str = "test",
    description: str = "evaluate",
    scale: float = 1.0,
) -> list[ViewMetrics]:
    """Render every view and compare it with its image.

    Args:
        images: folder for ``PREFIX_000_{truth,prediction,depth}.png``; None writes none.
        scale: model units in a unit of the dataset, in which errors of depth are told.
    """
    if images is not None:
        images.mkdir(parents=True, exist_ok=True)
    device = model.points.positions.device
    truths = views.composite(background)
    network = lpips_network()
    network = network.to(device) if network else None
    farthest = 2.0 * max(float(np.linalg.norm(camera.position)) for camera in views.cameras)
    metrics = []
    outputs = render_cameras(
        model, views.cameras, background=background, precision=precision, max_rays=max_rays
    )
    with progress_bar(len(views), description=description, unit="view") as bar:
        for i, (output, truth) in enumerate(zip(outputs, truths, strict=True)):
            rgb, truth = output.rgb.clamp(0.0, 1.0), truth[None].to(device)
            depth = None if views.depth is None else views.depth[i].to(device)
            metrics.append(
                ViewMetrics(
                    name=views.names[i],
                    psnr=psnr(rgb, truth).item(),
                    ssim=ssim(rgb, truth).item(),
                    lpips=network(rgb, truth).item() if network else None,
                    depth_mae=depth_error(output.depth[0], depth, scale),
                    holes=hole_share(output.alpha[0], views.images[i, ..., 3].to(device)),
                )
            )
            if images is not None:
                stem = f"{prefix}_{i:03d}"
                write_png(images / f"{stem}_truth.png", truth[0].cpu())
                write_png(images / f"{stem}_prediction.png", rgb[0].cpu())
                seen = torch.where(output.alpha[0] > 0.5, output.depth[0], 0.0)
                encoded = encode_depth(
                    seen.clamp(0.0, farthest).cpu().numpy(), depth_scale_for(farthest)
                )
                atomic.write_bytes(images / f"{stem}_depth.png", encoded)
            bar.update()
    return metrics


def depth_error(predicted: Tensor, truth: Tensor | None, scale: float = 1.0) -> float | None:
    """Mean absolute error where ``truth`` [H, W] has a surface (> 0), divided by ``scale``."""
    if truth is None or not bool((truth > 0).any()):
        return None
    surface = truth > 0
    return (predicted - truth)[surface].abs().mean().item() / scale


def hole_share(alpha: Tensor, truth: Tensor) -> float | None:
    """Share of the pixels where ``truth`` [H, W] is the object through and through and ``alpha``
    [H, W] lets more than half of the background show.
    """
    inside = truth >= 0.99
    if not bool(inside.any()):
        return None
    return (alpha < 0.5)[inside].float().mean().item()


def mean_view_metrics(metrics: Sequence[ViewMetrics]) -> dict[str, float | None]:
    """Mean of every metric over the views that have it; None where none has."""
    rows = [{k: v for k, v in asdict(view).items() if k != "name"} for view in metrics]
    return mean_metrics(rows, None)
