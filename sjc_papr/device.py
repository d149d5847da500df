"""Which device a run computes on."""

import torch

from training_core.config import ConfigError


def pick_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        ConfigError: CUDA is asked for and absent.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but PyTorch finds no CUDA device")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
