"""Restoring a checkpoint into something that may be configured differently."""

from pathlib import Path
from typing import Protocol

import torch

from training_core.config import InputError
from training_core.files.checkpoint_files import Checkpoint

_LONGEST_REASON = 300  # characters; a state dict that does not fit lists every tensor
_MISFITS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)


class Restorable(Protocol):
    """Something that takes up a checkpoint."""

    def restore(self, saved: Checkpoint) -> None:
        """Continue from it; raises whatever it likes where it does not fit."""
        ...


def restore_or_refuse(trainer: Restorable, saved: Checkpoint, folder: Path) -> None:
    """Restore a checkpoint out of ``folder``.

    Raises:
        InputError: it belongs to another configuration, in one line that names folder and step.
    """
    where = f"{folder}, step {saved.step}"
    try:
        trainer.restore(saved)
    except torch.OutOfMemoryError:
        raise
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except KeyError as error:
        raise InputError(f"{where}: does not fit this configuration: no {error}") from error
    except _MISFITS as error:
        raise InputError(f"{where}: {misfit(error)}") from error


def misfit(error: Exception) -> str:
    """Why a checkpoint does not fit, from PyTorch's error, on one line of bounded length."""
    reason = " ".join(str(error).split())
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]} …"
    return f"does not fit this configuration: {reason}"
