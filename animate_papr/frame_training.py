"""One frame of an animation: the model it starts from, its trainer, its training."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animate_papr.config import AnimateConfig, NextFrameConfig
from animate_papr.finished_frames import last_checkpoint
from animate_papr.following.hull_alignment import align_to_hull
from animate_papr.following.known_motion import carry_along
from animate_papr.following.motion_losses import motion_terms
from animate_papr.following.picture_alignment import align_to_pictures
from animate_papr.following.plateau import Plateau, PlateauTrainer, trained_quality
from animate_papr.frame_data import FrameTask
from animate_papr.novel_terms import NovelTerms
from sjc_papr.data.view_corrections import corrections_of
from sjc_papr.evaluation.validation import ViewValidation
from sjc_papr.evaluation.view_metrics import evaluate_views, mean_view_metrics
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointCloud
from sjc_papr.novel_view.from_options import hull_test, make_watch
from sjc_papr.novel_view.images import NovelViewImages
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.training.checkpoints import model_from
from sjc_papr.training.config import OptimizeConfig
from sjc_papr.training.lr_schedule import LRSchedule, Phase, peaks_of, single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.point_init import initial_points
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import seed_everything
from training_core.devices import peak_memory_bytes, pick_device
from training_core.files import atomic
from training_core.loop import TrainingLoop, Validation
from training_core.metrics_log import write_final
from training_core.step.seeds import Stream, stream_seed
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)


def next_frame_rates(config: NextFrameConfig, others: dict[str, float] | None = None) -> LRSchedule:
    """Which groups move when in a later frame, after the two presets of ``next.preset``.

    Args:
        others: rates of groups beside the model's, from the first step on which all moves.
    """
    frozen = {group for group, still in vars(config.freeze).items() if still}
    peaks = {g: rate for g, rate in peaks_of(config.rates).items() if g not in frozen}
    first = round(config.steps * config.motion_share) if config.preset == "motion" else 0
    if "positions" in frozen:
        first = 0
    rest = config.steps - first
    final, warmup = config.rates.final, config.rates.warmup
    moving = Phase(first, {"positions": config.motion_rate}, round(warmup * first), final)
    peaks |= others or {}
    return LRSchedule([moving, Phase(rest, peaks, round(warmup * rest), final)])


def make_trainer(
    config: AnimateConfig, task: FrameTask, model: Papr, novel_terms: NovelTerms
) -> Trainer:
    """The trainer of a frame: everything in the first, ``config.next`` in the others."""
    # Every frame draws its own patches, the same ones whether or not the run was interrupted.
    seed = stream_seed(Stream.FRAME, config.seed, task.index)
    if task.index == 0:
        optimize = config.first
        rates = single_stage(optimize.rates, optimize.steps, config.corrections.rates())
        terms = {}
    else:
        following = config.next
        optimize = OptimizeConfig(
            steps=following.steps,
            patches=following.patches,
            losses=following.losses,
            density=following.density,
            clip_gradient=config.first.clip_gradient,
            dead_patience=config.first.dead_patience,
            compile=config.first.compile,
        )
        rates = next_frame_rates(following, config.corrections.rates())
        terms = motion_terms(following.motion, model.points.positions)
        if terms and following.density.changes_points:
            logger.info("next.density changes the points, so next.motion does not tie them")
            terms = {}
    novel, plateau = config.novel.of_frame(task.index), config.next.plateau
    seen: dict[str, Any] = {"background": config.data.grey, "precision": config.precision}
    arguments = (
        model,
        PatchSampler(
            task.train,
            config.data.grey,
            optimize.patches,
            seed,
            model.points.positions.device,
            pseudo=task.pseudo,
            pseudo_share=config.pseudo.share,
        ),
        optimize,
        rates,
    )
    options: dict[str, Any] = {
        **seen,
        "seed": seed,
        "fault_folder": task.run.path,
        "model_terms": terms,
        "auxiliary": novel_terms.of_frame(task, model, optimize.steps, seed),
        "divergence": make_watch(novel, optimize.steps),
        "corrections": corrections_of(config.corrections, len(task.train)),
        "inside_hull": hull_test(novel, task.train) if optimize.density.hull_events else None,
    }
    if task.index == 0 or not plateau.every:
        return Trainer(*arguments, **options)
    quality = trained_quality(model, task.train, plateau, **seen)
    return PlateauTrainer(*arguments, plateau=Plateau(plateau, rates), quality=quality, **options)


def start_model(
    config: AnimateConfig, task: FrameTask, earlier: Sequence[Path], device: torch.device
) -> Papr:
    """A new model for the first frame; for the others the finished one of the frame before, its
    points where the object is now. ``earlier``: folders of the finished frames, in order.
    """
    if not earlier:
        points = initial_points(task.train, config.points, config.model.point_features, config.seed)
        return Papr(config.model, points).to(device)
    model = model_from(config.model, last_checkpoint(earlier[-1]), earlier[-1]).to(device)
    if not config.next.freeze.positions:
        model.points.positions.data = _follow(config, task, model.points, earlier[0])
    return model


def _follow(config: AnimateConfig, task: FrameTask, cloud: PointCloud, first: Path) -> Tensor:
    """Where the points of the frame before are now, before any training."""
    seed = stream_seed(Stream.FRAME, config.seed, task.index)
    positions, align = cloud.positions.detach(), config.next.align
    if task.motion:
        return carry_along(positions, *task.motion)
    if task.read_before:
        rest, (before, made) = _rest_shape(config, first), task.read_before()
        pseudo = (made, task.pseudo) if made and task.pseudo else None
        return align_to_pictures(positions, rest, (before, task.train), align, seed, pseudo)
    return align_to_hull(positions, task.train, align, seed)


def _rest_shape(config: AnimateConfig, first: Path) -> Tensor | None:
    """Points of the first frame, [P, 3]; None where later frames drop or add points, for then point
    i of one frame is another in the next.
    """
    if config.next.density.changes_points:
        return None
    return model_from(config.model, last_checkpoint(first), first).points.positions.detach()


def train_frame(
    config: AnimateConfig,
    task: FrameTask,
    earlier: Sequence[Path],
    stop: StopSignals,
    novel_terms: NovelTerms,
    extend: Path | None = None,
) -> dict[str, Any]:
    """Train one frame, evaluate it, write its figures; continues where it was stopped, or where
    the frame in folder ``extend`` was. ``earlier``: folders of the finished frames, in order.
    """
    device = pick_device(config.device, config.deterministic)
    seed_everything(config.seed)
    model = start_model(config, task, earlier, device)
    trainer = make_trainer(config, task, model, novel_terms)
    novel = trainer.auxiliary
    validate = ViewValidation.of(model, task.val, config.data.grey, config.precision)
    validation = Validation(validate, config.log.validate_every)
    elapsed = TrainingLoop(
        trainer,
        task.run,
        config.log,
        stop,
        task.name,
        validation=validation,
        log_images=NovelViewImages(trainer, novel) if isinstance(novel, NovelViews) else None,
        recover=trainer.start_over if trainer.divergence else None,
        extend=extend,
    ).fit()
    metrics = evaluate_views(
        model,
        task.test,
        background=config.data.grey,
        precision=config.precision,
        images=task.run.images,
        description=f"{task.name} held-out",
        scale=task.scale,
    )
    cloud = {name: rows.cpu() for name, rows in model.points.rows()._asdict().items()}
    atomic.write_tensors(task.run.path / "points.safetensors", cloud)
    figures = {
        "frame": task.name,
        **mean_view_metrics(metrics),
        "num_points": len(model.points),
        "steps": trainer.steps,
        **elapsed._asdict(),
        "peak_memory_bytes": peak_memory_bytes(device),
    }
    # Last: its presence says that the frame is done.
    write_final(task.run, figures)
    logger.info("%s: PSNR %.2f dB, SSIM %.4f", task.name, figures["psnr"], figures["ssim"])
    return figures
