"""From a checkpoint to a PAPR model."""

from pathlib import Path

import torch
from torch import Tensor

from sjc_papr.networks.config import ModelConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointRows
from training_core.checkpoint import Checkpoint
from training_core.config import InputError
from training_core.files.weight_file import refuse_not_finite
from training_core.step.restoring import misfit


def model_from(config: ModelConfig, saved: Checkpoint, run: Path) -> Papr:
    """A model with the weights of a checkpoint of ``run``, however many points it has.

    Raises:
        InputError: the checkpoint belongs to another network, or its weights are not finite.
    """
    where = f"{run}, checkpoint of step {saved.step}"
    nothing = PointRows(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, config.point_features))
    model = Papr(config, nothing)
    try:
        model.load_tensors(model_tensors(saved))
    except RuntimeError as error:
        raise InputError(f"{where}: {misfit(error)}") from error
    refuse_not_finite(model.state_dict(), where)
    return model


def model_tensors(saved: Checkpoint) -> dict[str, Tensor]:
    """The model's state dict out of a checkpoint."""
    return tensors_of(saved, "model.")


def tensors_of(saved: Checkpoint, prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose names begin with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in saved.tensors.items()
        if name.startswith(prefix)
    }
