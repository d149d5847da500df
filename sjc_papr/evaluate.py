"""How close renders come to held-out pictures.

``python -m sjc_papr.evaluate run=runs/sjc_papr/NAME`` scores a trained (or imported) model on a
whole split.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blender_render.dataset_format import depth_scale_for, encode_depth
from blender_render.readers import Views, read_views
from sjc_papr.checkpoints import load_run
from sjc_papr.config import DataConfig
from sjc_papr.metrics import lpips_network, psnr, ssim
from sjc_papr.model import Papr
from sjc_papr.renderer import render_cameras
from training_core import atomic
from training_core.cli import run_command
from training_core.config import MISSING, ConfigError, option
from training_core.devices import pick_device, prepare_cpu
from training_core.metrics_log import progress

logger = logging.getLogger(__name__)


@dataclass
class EvaluateConfig:
    run: str = option(MISSING, "run folder of sjc_papr.train or sjc_papr.import_papr")
    data: str = option("", "frame folder to compare with; empty = the one it was trained on")
    split: str = option("test", "which split", choices=("train", "val", "test"))
    output: str = option("", "where figures and pictures go; empty = evaluation/SPLIT in the run")
    pictures: bool = option(True, "write truth, prediction and depth of every view")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    precision: str = option("auto", "see sjc_papr.train", choices=("auto", "float32", "bfloat16"))
    max_rays: int = option(16384, "rays attended to at once; bounds the memory")


@dataclass(frozen=True)
class ViewScore:
    """Figures of one view.

    Attributes:
        psnr: dB over the whole picture. ssim. lpips: None without its network.
        depth_mae: mean absolute error of planar depth where truth has a surface, world units; None
            without truth.
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
    pictures: Path | None = None,
    prefix: str = "test",
    description: str = "evaluate",
) -> list[ViewScore]:
    """Render every view and compare it with its picture.

    Args:
        pictures: folder for ``PREFIX_000_{truth,prediction,depth}.png``; None writes none.
    """
    device = model.points.positions.device
    truths = views.composite(background)
    network = lpips_network()
    network = network.to(device) if network else None
    farthest = 2.0 * max(float(np.linalg.norm(camera.position)) for camera in views.cameras)
    scores = []
    outputs = render_cameras(
        model, views.cameras, background=background, precision=precision, max_rays=max_rays
    )
    with progress(len(views), description=description, unit="view") as bar:
        for i, (output, truth) in enumerate(zip(outputs, truths, strict=True)):
            rgb, truth = output.rgb.clamp(0.0, 1.0), truth[None].to(device)
            depth = None if views.depth is None else views.depth[i].to(device)
            scores.append(
                ViewScore(
                    name=views.names[i],
                    psnr=psnr(rgb, truth).item(),
                    ssim=ssim(rgb, truth).item(),
                    lpips=network(rgb, truth).item() if network else None,
                    depth_mae=depth_error(output.depth[0], depth),
                    holes=hole_share(output.alpha[0], views.images[i, ..., 3].to(device)),
                )
            )
            if pictures is not None:
                stem = f"{prefix}_{i:03d}"
                save_picture(pictures / f"{stem}_truth.png", truth[0])
                save_picture(pictures / f"{stem}_prediction.png", rgb[0])
                seen = torch.where(output.alpha[0] > 0.5, output.depth[0], 0.0)
                encoded = encode_depth(
                    seen.clamp(0.0, farthest).cpu().numpy(), depth_scale_for(farthest)
                )
                atomic.write_bytes(pictures / f"{stem}_depth.png", encoded)
            bar.update()
    return scores


def depth_error(predicted: Tensor, truth: Tensor | None) -> float | None:
    """Mean absolute error where ``truth`` [H, W] has a surface (> 0)."""
    if truth is None or not bool((truth > 0).any()):
        return None
    surface = truth > 0
    return (predicted - truth)[surface].abs().mean().item()


def hole_share(alpha: Tensor, truth: Tensor) -> float | None:
    """Share of the pixels where ``truth`` [H, W] is the object through and through and ``alpha``
    [H, W] lets more than half of the background show.
    """
    inside = truth >= 0.99
    if not bool(inside.any()):
        return None
    return (alpha < 0.5)[inside].float().mean().item()


def mean_scores(scores: Sequence[ViewScore]) -> dict[str, float | None]:
    """Mean of every figure over the views that have it; None where none has."""
    means: dict[str, float | None] = {}
    for key in ("psnr", "ssim", "lpips", "depth_mae", "holes"):
        values = [value for score in scores if (value := getattr(score, key)) is not None]
        means[key] = float(np.mean(values)) if values else None
    return means


def save_picture(path: Path, picture: Tensor) -> None:
    """Write [H, W, 3] in [0, 1] as an 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (picture * 255.0).round().clamp(0, 255).byte().cpu().numpy()
    Image.fromarray(pixels).save(path)


def read_split(data: DataConfig, path: Path, split: str) -> Views:
    """A split at the configured resolution (both numbers zero = as on disk).

    Raises:
        InputError: see ``blender_render.readers.read_views``.
    """
    resolution = (data.width, data.height) if data.width else None
    return read_views(path, split, resolution=resolution)


def run(config: EvaluateConfig) -> None:
    """Evaluate and write ``metrics.json`` and pictures."""
    folder = Path(config.run)
    train, model, saved = load_run(folder)
    _require_data(config.data or train.data.path)
    prepare_cpu()
    device = pick_device(config.device)
    views = read_split(train.data, Path(config.data or train.data.path), config.split)
    output = Path(config.output) if config.output else folder / "evaluation" / config.split
    output.mkdir(parents=True, exist_ok=True)
    scores = evaluate_views(
        model.to(device),
        views,
        background=train.data.background,
        precision=config.precision,
        max_rays=config.max_rays,
        pictures=output if config.pictures else None,
        prefix=config.split,
    )
    if saved.step < train.optimize.steps and not saved.state.get("imported"):
        logger.warning("unfinished: step %d of %d", saved.step, train.optimize.steps)
    means = mean_scores(scores)
    figures = means | {"step": saved.step, "views": [asdict(score) for score in scores]}
    atomic.write_json(output / "metrics.json", figures)
    logger.info(
        "%d views: PSNR %.2f dB, SSIM %.4f; written to %s",
        len(scores),
        means["psnr"],
        means["ssim"],
        output,
    )


def _require_data(path: str) -> None:
    if not path:
        raise ConfigError("this run was imported and names no pictures: give data=FRAME_FOLDER")


def plan(config: EvaluateConfig) -> str:
    """What ``--dry-run`` prints."""
    train, model, saved = load_run(Path(config.run))
    _require_data(config.data or train.data.path)
    views = read_split(train.data, Path(config.data or train.data.path), config.split)
    height, width = views.images.shape[1:3]
    return (
        f"{len(views)} {config.split} views of {width}x{height}, "
        f"{len(model.points)} points, step {saved.step}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(EvaluateConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
