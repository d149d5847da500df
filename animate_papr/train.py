"""Train an animation frame by frame.

``python -m animate_papr.train --config configs/animate_papr/demo.yaml data.path=data/NAME
name=NAME``

The first frame trains everything. Each later frame starts from the points and networks of the
frame before it, with the UNet frozen, and point i stays point i: its path over the frames is a
trajectory.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animate_papr.config import AnimateConfig, NextFrameConfig
from animate_papr.finished_frames import (
    PHASE,
    frame_run_dir,
    frames_to_extend,
    is_whole,
    last_checkpoint,
    read_figures,
)
from animate_papr.frame_data import FrameTask, check_frames, training_views
from animate_papr.hull_alignment import align_to_hull
from animate_papr.motion_losses import motion_terms
from blender_render.dataset.readers import list_frames
from sjc_papr.data.loading import load_views
from sjc_papr.data.world import world_of_run
from sjc_papr.evaluation.validation import ViewValidation
from sjc_papr.evaluation.view_metrics import evaluate_views, mean_view_metrics
from sjc_papr.networks.model import Papr
from sjc_papr.training.checkpoints import model_from
from sjc_papr.training.config import OptimizeConfig
from sjc_papr.training.flops import describe_step
from sjc_papr.training.losses import Losses
from sjc_papr.training.lr_schedule import LRSchedule, Phase, peaks_of, single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.point_init import initial_points
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import seed_everything
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import peak_memory_bytes, pick_device, prepare_cpu
from training_core.files import atomic
from training_core.loop import TrainingLoop, Validation
from training_core.metrics_log import write_final
from training_core.run_folder import RunFolder
from training_core.step.seeds import Stream, stream_seed
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)


def next_frame_rates(config: NextFrameConfig) -> LRSchedule:
    """Which groups move when in a later frame, after the two presets of ``next.preset``."""
    frozen = {group for group, still in vars(config.freeze).items() if still}
    peaks = {g: rate for g, rate in peaks_of(config.rates).items() if g not in frozen}
    first = round(config.steps * config.motion_share) if config.preset == "motion" else 0
    if "positions" in frozen:
        first = 0
    rest = config.steps - first
    final, warmup = config.rates.final, config.rates.warmup
    moving = Phase(first, {"positions": config.motion_rate}, round(warmup * first), final)
    return LRSchedule([moving, Phase(rest, peaks, round(warmup * rest), final)])


def make_trainer(config: AnimateConfig, task: FrameTask, model: Papr) -> Trainer:
    """The trainer of a frame: everything in the first, ``config.next`` in the others."""
    # Every frame draws its own patches, the same ones whether or not the run was interrupted.
    seed = stream_seed(Stream.FRAME, config.seed, task.index)
    if task.index == 0:
        optimize = config.first
        rates, terms = single_stage(optimize.rates, optimize.steps), {}
    else:
        following = config.next
        optimize = OptimizeConfig(
            steps=following.steps,
            patches=following.patches,
            losses=following.losses,
            density=following.density,
            clip_gradient=config.first.clip_gradient,
            dead_patience=config.first.dead_patience,
        )
        rates = next_frame_rates(following)
        terms = motion_terms(following.motion, model.points.positions)
    return Trainer(
        model,
        PatchSampler(task.train, config.data.grey, optimize.patches, seed),
        optimize,
        rates,
        background=config.data.grey,
        precision=config.precision,
        seed=seed,
        fault_folder=task.run.path,
        model_terms=terms,
    )


def start_model(config: AnimateConfig, task: FrameTask, before: Path | None) -> Papr:
    """A new model for the first frame, the finished one of the frame before for the others."""
    if before is None:
        points = initial_points(task.train, config.points, config.model.point_features, config.seed)
        return Papr(config.model, points)
    model = model_from(config.model, last_checkpoint(before))
    if not config.next.freeze.positions:
        seed = stream_seed(Stream.FRAME, config.seed, task.index)
        moved = align_to_hull(model.points.positions.detach(), task.train, config.next.align, seed)
        model.points.positions.data = moved
    return model


def train_frame(
    config: AnimateConfig,
    task: FrameTask,
    before: Path | None,
    stop: StopSignals,
    extend: Path | None = None,
) -> dict[str, Any]:
    """Train one frame, evaluate it, write its figures; continues where it was stopped, or where
    the frame in folder ``extend`` was.
    """
    device = pick_device(config.device)
    seed_everything(config.seed)
    model = start_model(config, task, before).to(device)
    trainer = make_trainer(config, task, model)
    validate = ViewValidation.of(model, task.val, config.data.grey, config.precision)
    validation = Validation(validate, config.log.validate_every)
    elapsed = TrainingLoop(
        trainer, task.run, config.log, stop, task.name, validation=validation, extend=extend
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
        "steps": trainer.config.steps,
        **elapsed._asdict(),
        "peak_memory_bytes": peak_memory_bytes(device),
    }
    # Last: its presence says that the frame is done.
    write_final(task.run, figures)
    logger.info("%s: PSNR %.2f dB, SSIM %.4f", task.name, figures["psnr"], figures["ssim"])
    return figures


def run(config: AnimateConfig) -> None:
    """Train all frames in order, then write the figures of the whole run."""
    if not config.data.path:
        raise ConfigError("data.path is missing: which pictures?")
    prepare_cpu(config.threads)
    pick_device(config.device)
    Losses(config.first.losses), Losses(config.next.losses)
    names = frame_names(config)
    extended = frames_to_extend(config, names)
    dataset = Path(config.data.path)
    for name in names:
        load_views(config.data, dataset / name, "test")
    first = training_views(config, dataset / names[0])
    folder = config.open_run(PHASE)
    source = Path(config.extend) if extended else None
    world = world_of_run(folder.path, first, config.data, source)
    atomic.write_json(folder.path / "frames.json", {"frames": names})
    before: Path | None = None
    with StopSignals() as stop:
        for index, name in enumerate(names):
            path = frame_run_dir(folder.path, name)
            if not is_whole(path):
                part = folder.sub(os.fspath(path.relative_to(folder.path)))
                task = FrameTask.read(config, index, name, part, world)
                train_frame(config, task, before, stop, extended.get(name))
                stop.raise_if_requested()
            before = path
    summary = summarise(folder, names, dataset)
    write_final(folder, summary)
    logger.info(
        "%d frames: mean PSNR %.2f dB, least %.2f dB: %s",
        len(names),
        summary["mean_psnr"],
        summary["min_psnr"],
        folder.path,
    )


def summarise(folder: RunFolder, names: Sequence[str], dataset: Path) -> dict[str, Any]:
    """Figures of all frames and their mean and least PSNR."""
    frames = [read_figures(frame_run_dir(folder.path, name)) or {} for name in names]
    quality = [frame["psnr"] for frame in frames]
    return {
        "frames": frames,
        "mean_psnr": sum(quality) / len(quality),
        "min_psnr": min(quality),
        "first_psnr": quality[0],
        "last_psnr": quality[-1],
        "seconds": sum(frame["seconds"] for frame in frames),
        "cpu_seconds": sum(frame["cpu_seconds"] for frame in frames),
        "dataset": str(dataset),
    }


def frame_names(config: AnimateConfig) -> list[str]:
    """The frames to train, in order of time.

    Raises:
        ConfigError: a frame is asked for that the dataset does not have.
    """
    found = list_frames(config.data.path)
    missing = [name for name in config.frames if name not in found]
    if missing:
        raise ConfigError(f"frames: {config.data.path} has no {missing[0]!r}; it has {found}")
    return config.frames or found


def plan(config: AnimateConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    pick_device(config.device)
    Losses(config.first.losses), Losses(config.next.losses)
    names = frame_names(config)
    extended = frames_to_extend(config, names)
    counts, world = check_frames(config, names)
    rates = next_frame_rates(config.next)
    stages = [f"{s.steps} steps of {', '.join(s.peaks)}" for s in rates.stages if s.steps]
    return "\n".join(
        [
            f"{config.name}: {len(names)} frames, {counts[0]} training and {counts[1]} test views",
            *([] if world.is_datasets_own else [world.describe()]),
            f"first frame: {config.first.steps} steps, {config.points.count} points, all groups",
            f"each later frame: {' then '.join(stages)}",
            describe_step(config.model, config.first.patches),
            *([f"goes on from {config.extend}: {', '.join(extended)}"] if extended else []),
            f"to {Path(config.output_root) / PHASE / config.name}",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(AnimateConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
