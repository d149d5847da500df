"""Which networks a generation uses, from its options and, where a run is named, from its folder."""

import dataclasses
from pathlib import Path
from typing import Any

from mnvs.config import TrainConfig
from mnvs.inference.config import (
    MOTION_BUCKET,
    NOISE_AUGMENTATION,
    GenerateConfig,
    ModelSource,
    UnfinishedRun,
)
from training_core.checkpoint import CheckpointStore
from training_core.config import ConfigError
from training_core.config.saved import load_run_config


def find_source(config: GenerateConfig) -> ModelSource:
    """The networks that ``model`` names, with what is known of their training.

    Raises:
        ConfigError: the run is not there, or has neither a result nor a checkpoint yet.
        InputError: it has no result, and none of its checkpoints can be read.
    """
    model = config.model
    if model.run:
        return _source_of_run(config, Path(model.run))
    return ModelSource(
        pipeline=model.pipeline,
        zero123plus=model.zero123plus,
        temporal_source=model.temporal_source,
        temporal=model.temporal,
        temporal_start=model.temporal_start,
        variant=model.variant,
        lora=model.lora,
        inflate=model.inflate,
        rig=model.rig,
        condition=config.clip.condition,
        motion_bucket=_given(model.motion_bucket, MOTION_BUCKET),
        noise_augmentation=_given(model.noise_augmentation, NOISE_AUGMENTATION),
    )


def _source_of_run(config: GenerateConfig, folder: Path) -> ModelSource:
    model, clip = config.model, config.clip
    trained = load_run_config(TrainConfig, folder)
    full, lora = folder / "pipeline", folder / "lora"
    unfinished = None
    if not full.is_dir() and not lora.is_dir():
        unfinished = _unfinished(folder, trained)
    if model.rig and trained.model.pipeline:
        raise ConfigError(f"model.run={folder}: started from a pipeline, which has its own rig")
    made = ModelSource(
        temporal=trained.model.temporal,
        rig=model.rig or trained.data.rig,
        frames=trained.data.frames,
        view_size=trained.data.view_size,
        condition=trained.data.condition if clip.condition == "auto" else clip.condition,
        motion_bucket=_given(model.motion_bucket, trained.model.motion_bucket),
        noise_augmentation=_given(model.noise_augmentation, trained.model.noise_augmentation),
    )
    in_full = full.is_dir() or (unfinished and trained.train.parameters == "full")
    if in_full and (model.rig or model.lora_scale != 1.0):
        raise ConfigError(
            f"model.run={folder}: was trained in full; rig and lora_scale have no effect"
        )
    if full.is_dir():
        return dataclasses.replace(made, pipeline=str(full))
    return dataclasses.replace(
        made,
        pipeline=trained.model.pipeline,
        zero123plus=trained.model.zero123plus,
        temporal_source=trained.model.temporal_source,
        temporal_start=trained.model.temporal_start,
        seed=trained.seed,
        variant=trained.model.variant,
        lora="" if unfinished else str(lora),
        unfinished=unfinished,
    )


def _unfinished(folder: Path, trained: TrainConfig) -> UnfinishedRun:
    """The newest readable checkpoint of a run without a result; nothing is written or locked, for
    another process may be training there.

    Raises: see ``find_source``.
    """
    found = CheckpointStore(folder / "checkpoints").newest_whole()
    if found is None:
        raise ConfigError(
            f"model.run={folder}: has no result yet, neither lora/ nor pipeline/, and no "
            "checkpoint; its training is not finished: the same command (command.txt in it) "
            "continues it"
        )
    checkpoint, step = found
    return UnfinishedRun(str(folder), str(checkpoint), step, trained.train.steps)


def _given(option: float, otherwise: Any) -> Any:
    """The value of an option whose -1 means that it is not given."""
    return otherwise if option == -1 else option
