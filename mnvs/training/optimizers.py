"""Optimizers by name, and the learning rate as a pure function of the step."""

from collections.abc import Iterable

import torch
from torch import nn

from mnvs.training.config import OptimizerConfig
from training_core.config import ConfigError
from training_core.step.schedules import warmup_cosine


def make_optimizer(
    config: OptimizerConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """An optimizer at rate zero; set it with ``rate_at`` before each step.

    Raises:
        ConfigError: adamw8bit where bitsandbytes or CUDA is missing.
    """
    arguments = {
        "lr": 0.0,
        "betas": (config.betas[0], config.betas[1]),
        "eps": config.epsilon,
    }
    if config.kind == "adam":
        return torch.optim.Adam(parameters, fused=True, **arguments)  # type: ignore[arg-type]
    arguments["weight_decay"] = config.weight_decay
    if config.kind == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **arguments)  # type: ignore[arg-type]
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ConfigError(
            "train.optimizer.kind=adamw8bit needs the package bitsandbytes: "
            "pip install bitsandbytes"
        ) from error
    if not torch.cuda.is_available():
        raise ConfigError("train.optimizer.kind=adamw8bit needs a CUDA device")
    return AdamW8bit(parameters, **arguments)


def rate_at(config: OptimizerConfig, step: int, steps: int) -> float:
    """Learning rate of step number ``step`` (from 0) of ``steps``."""
    # Counted from one, so that the first step already moves.
    return warmup_cosine(step + 1, steps, config.warmup, config.rate, config.rate * config.final)
