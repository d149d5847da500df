"""Train the video UNet on six-view videos: adapters (LoRA) on Zero123++ and SVD, or all of it.

``python -m mnvs.train --config configs/mnvs/zero123plus_svd.yaml data.paths=[data/fox.zip]
name=NAME``

The result is ``runs/mnvs/NAME/lora`` or, of full training, ``runs/mnvs/NAME/pipeline``. On several
GPUs: one process each, with accelerate's or torchrun's variables (slurm/train_mnvs.sbatch).
"""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from blender_render.dataset.paths import dataset_paths
from mnvs.checkpoints.progress_bars import without_progress_bars
from mnvs.config import TrainConfig
from mnvs.data.dataset import SixViewDataset
from mnvs.data.latent_cache import EncodedDataset
from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.inference.pipeline import DEFAULT_RIG, MNVSPipeline
from mnvs.training.baselines import TrueClip
from mnvs.training.conditioner import Conditioner
from mnvs.training.devices import (
    AcceleratorProcesses,
    frozen_dtype,
    make_accelerator,
)
from mnvs.training.optimizers import make_optimizer
from mnvs.training.resources import describe, estimate, refuse_impossible
from mnvs.training.sharding import refuse_loss_scaling
from mnvs.training.trainable import Trainable
from mnvs.training.trainer import Trainer, parts_of_share
from mnvs.training.validation import ClipValidation
from training_core.checkpoint import seed_everything
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import peak_memory_bytes, prepare_cpu
from training_core.extension import describe_extension, extended_run, log_differences
from training_core.loop import TrainingLoop, Validation
from training_core.metrics_log import write_final
from training_core.run_folder import RunFolder
from training_core.step.processes import done_by_main
from training_core.stopping import StopSignals, lost_processes_explained

logger = logging.getLogger(__name__)

PHASE = "mnvs"
PIPELINE_FOLDER = "pipeline"


def make_pipeline(config: TrainConfig, accelerator: Accelerator) -> MNVSPipeline:
    """The networks as the checkpoints have them, on their device.

    What is trained in full is read in float32, for its weights are masters from the start, and so
    are the encoders that are saved beside it.

    Raises:
        InputError: a checkpoint is not there or does not fit.
    """
    model, full = config.model, config.train.parameters == "full"
    dtype = torch.float32 if full else frozen_dtype(accelerator)
    variant = model.variant or None
    if model.pipeline:
        saved = MNVSPipeline.from_pretrained(model.pipeline, dtype=dtype, variant=variant)
        return saved.to(accelerator.device)
    pipeline = MNVSPipeline.from_sources(
        model.zero123plus,
        model.temporal_source or None,
        kind=model.temporal,
        temporal_start=model.temporal_start,
        rig=config.data.rig or DEFAULT_RIG,
        dtype=dtype,
        variant=variant,
    )
    return pipeline.to(accelerator.device)


def make_trainer(
    config: TrainConfig, accelerator: Accelerator, pipeline: MNVSPipeline, folder: Path
) -> Trainer:
    """Everything a step needs."""
    data, batch = config.data, config.train.batch
    dataset = SixViewDataset(data.paths, data, batch=batch, seed=config.seed)
    schedule = NoiseSchedule.from_scheduler(pipeline.scheduler)
    cache = Path(data.cache) if data.cache else None
    return Trainer(
        accelerator,
        Trainable(pipeline.unet, config.train, frozen_dtype(accelerator)),
        EncodedDataset(dataset, pipeline.encoders, cache),
        Conditioner(pipeline.encoders.prompts, schedule, config.model),
        schedule,
        config.train,
        seed=config.seed,
        fault_folder=folder,
    )


def make_validation(
    config: TrainConfig, pipeline: MNVSPipeline, trainer: Trainer
) -> ClipValidation | None:
    """The first clip of as many datasets as are asked for; None where it is switched off."""
    if not config.validation.every:
        return None
    paths = config.validation.paths or config.data.paths
    dataset = SixViewDataset(dataset_paths(paths)[: config.validation.clips], config.data)
    return ClipValidation(
        pipeline,
        [TrueClip.of(dataset, number) for number in range(len(dataset))],
        config.validation,
        config.model,
        view_size=config.data.view_size,
        ema=trainer.ema,
        autocast=trainer.accelerator.autocast,
        training=SixViewDataset(config.data.paths, config.data),
    )


def run(config: TrainConfig) -> None:
    """Train, then generate the validation clips, write the final figures and the result."""
    _check(config)
    refuse_impossible(config.model, config.data, config.validation)
    source = _extended(config)
    prepare_cpu(config.threads)
    accelerator = make_accelerator(config.device, config.precision, config.deterministic)
    _refuse_broken_convolution(config, accelerator)
    refuse_loss_scaling(config.train, accelerator.mixed_precision)
    parts_of_share(config.train, accelerator.num_processes)
    # Adapters, and temporal layers without a checkpoint, start at random.
    seed_everything(config.seed)
    pipeline = make_pipeline(config, accelerator)
    folder = open_run(config, accelerator)
    if source and accelerator.is_main_process:
        log_differences(source, config)
    trainer = make_trainer(config, accelerator, pipeline, folder.path)
    validation = make_validation(config, pipeline, trainer)
    with StopSignals() as stop, lost_processes_explained(accelerator.num_processes):
        elapsed = TrainingLoop(
            trainer,
            folder,
            config.log,
            stop,
            f"train {config.name}",
            validation=Validation(
                validation,
                config.validation.every,
                at_start=True,
                everywhere=validation.prepare if validation and trainer.sharded else None,
            ),
            extend=source,
            processes=AcceleratorProcesses(accelerator),
            average=True,
        ).fit()
    if trainer.sharded:  # what takes all processes
        if validation:
            validation.prepare(config.train.steps)
        pipeline.unet = trainer.put_together()
    if accelerator.is_main_process:
        scores = validation.final(folder.images, config.train.steps) if validation else {}
        result = export(config, trainer, pipeline, folder.path)
        figures = {"steps": config.train.steps, **elapsed._asdict()}
        memory = {"peak_memory_bytes": peak_memory_bytes(accelerator.device)}
        write_final(folder, scores | figures | memory)
        logger.info("%s%s", f"{quality(scores)}: " if scores else "", result)
    accelerator.end_training()


def quality(scores: Mapping[str, Any]) -> str:
    """PSNR in words, beside that of the background alone and of the first frame repeated, where
    these were measured: a network that does not exceed them has learned nothing, or no motion.
    """
    known = {name: scores.get(name, math.nan) for name in ("psnr_grey", "psnr_still")}
    others = [f"{name} {value:.2f}" for name, value in known.items() if math.isfinite(value)]
    return f"PSNR {scores['psnr']:.2f} dB" + (f" ({', '.join(others)})" if others else "")


def export(config: TrainConfig, trainer: Trainer, pipeline: MNVSPipeline, folder: Path) -> Path:
    """Write the adapter, or of full training the whole pipeline; averaged weights where kept."""
    if trainer.ema:
        trainer.ema.copy_to_parameters()
    if trainer.trainable.lora:
        path = folder / "lora"
        trainer.trainable.lora.save(path)
        return path
    path = folder / PIPELINE_FOLDER
    with without_progress_bars():
        pipeline.save_pretrained(path)
    return path


def open_run(config: TrainConfig, accelerator: Accelerator) -> RunFolder:
    """The run's folder, opened by the first process for all.

    Raises:
        ConfigError: see ``RunFolder.open``; in every process alike.
    """
    return done_by_main(AcceleratorProcesses(accelerator), lambda: config.open_run(PHASE))


def _extended(config: TrainConfig) -> Path | None:
    return extended_run(config, PHASE, config.train.steps, "train.steps")


def plan(config: TrainConfig) -> str:
    """What ``--dry-run`` prints; datasets are checked where given, checkpoints need not be here."""
    refuse_impossible(config.model, config.data, config.validation)
    counts = _check(config) if config.data.paths else []
    videos = f"{len(counts)} videos, {sum(counts)} frames" if counts else "no data.paths given yet"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    found = estimate(
        config.model, config.data, config.train, precision=config.precision, processes=processes
    )
    sizes = describe(config.data, config.train, found)
    source = describe_extension(_extended(config))
    return "\n".join([f"{config.name}: {videos}", sizes, *source, config.describe_run(PHASE)])


def _check(config: TrainConfig) -> list[int]:
    """Refuse what is missing before anything is loaded; numbers of frames of the training videos.

    Raises:
        ConfigError, InputError: naming it.
    """
    if not config.data.paths:
        raise ConfigError("data.paths is missing: which datasets?")
    if not (config.model.pipeline or config.model.zero123plus):
        raise ConfigError("model.zero123plus is missing: which checkpoint?")
    make_optimizer(config.train.optimizer, [torch.nn.Parameter(torch.zeros(1))])
    if config.validation.every and config.validation.paths:
        SixViewDataset(config.validation.paths, config.data)
    return SixViewDataset(config.data.paths, config.data).counts


def _refuse_broken_convolution(config: TrainConfig, accelerator: Accelerator) -> None:
    """PyTorch 2.13's 3D convolution over exactly two frames has NaN gradients in bf16 on a CPU."""
    cpu = accelerator.device.type == "cpu"
    if cpu and accelerator.mixed_precision == "bf16" and config.data.frames == 2:
        raise ConfigError(
            "precision=bf16 on a CPU cannot train clips of two frames; use fp32, or other clips"
        )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TrainConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
