"""Run folders of PAPR models: reading them back, and writing imported ones."""

from pathlib import Path

import torch

from sjc_papr.config import ModelConfig, TrainConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.training.trainer import model_tensors
from training_core.checkpoint import Checkpoint, CheckpointStore
from training_core.config import ConfigError, InputError, load_config
from training_core.run_folder import RunFolder


def model_from(config: ModelConfig, saved: Checkpoint) -> Papr:
    """A model with the weights of a checkpoint, however many points it has.

    Raises:
        InputError: the checkpoint belongs to another network.
    """
    nothing = PointRows(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, config.point_features))
    model = Papr(config, nothing)
    try:
        model.load_tensors(model_tensors(saved))
    except RuntimeError as error:
        raise InputError(f"checkpoint does not fit its config: {error}") from error
    return model


def load_run(run: Path) -> tuple[TrainConfig, Papr, Checkpoint]:
    """Config, model and latest checkpoint of a run folder of ``sjc_papr.train``.

    Raises:
        InputError: the folder is no run or has no checkpoint yet.
    """
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: no config.yaml: not a run folder")
    try:
        config = load_config(TrainConfig, run / "config.yaml", [])
    except ConfigError as error:
        raise InputError(f"{run} is not a run of sjc_papr: {error}") from error
    saved = CheckpointStore(run / "checkpoints").load()
    if saved is None:
        raise InputError(f"{run}: no checkpoint yet")
    return config, model_from(config.model, saved), saved


def save_imported(config: TrainConfig, model: Papr, step: int) -> Path:
    """Write a run folder holding a model that was trained elsewhere; returns its path."""
    run = RunFolder.open(Path(config.output_root), "sjc_papr", config.name, config, "never")
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    CheckpointStore(run.checkpoints).save(step, tensors, {"imported": True})
    return run.path
