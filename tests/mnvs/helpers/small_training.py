"""A trainer on made-up latents, small enough for many steps a second."""

from pathlib import Path
from typing import Any

import torch
from small_unet import WIDTH, schedule, small_unet
from torch import Tensor

from mnvs.data.latent_cache import EncodedClip
from mnvs.training.conditioner import Conditioner
from mnvs.training.config import ModelConfig, StepsConfig
from mnvs.training.devices import frozen_dtype, make_accelerator
from mnvs.training.trainable import Trainable
from mnvs.training.trainer import Trainer
from training_core.config import load_config
from training_core.step.seeds import derive_seed

TOKENS = 5


class MadeUpClips:
    """Other latents at every place of every step, with the dataset's interface."""

    def __init__(self, frames: int = 2, condition_frames: int = 1) -> None:
        self.frames, self.condition_frames = frames, condition_frames

    def sample(self, step: int, index: int) -> EncodedClip:
        generator = torch.Generator().manual_seed(derive_seed(77, step, index))

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        return EncodedClip(
            latents=draw(self.frames, 4, 6, 4),
            condition=draw(self.condition_frames, 4, 4, 4),
            image_token=draw(self.condition_frames, 1, WIDTH),
            no_condition=torch.full((4, 4, 4), 0.25),
            fps=8.0,
            name="made up",
            frames=tuple(range(self.frames)),
        )


def prompts(image_token: Tensor) -> Tensor:
    """An empty prompt of fixed states with the image ramped on, as the encoders make it."""
    states = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(4))
    ramp = torch.linspace(0.0, 1.2, TOKENS)[:, None]
    return states + image_token * ramp


def conditioner() -> Conditioner:
    return Conditioner(prompts, schedule(), ModelConfig())


def steps_config(**values: Any) -> StepsConfig:
    """Few steps of a small adapter; dots in keys are written as two underscores."""
    defaults = {
        "steps": 6,
        "lora__rank": 2,
        "lora__alpha": 2.0,
        "optimizer__warmup": 2,
        "optimizer__rate": 1e-2,
        "gradient_checkpointing": False,
    }
    overrides = [f"{k.replace('__', '.')}={v}" for k, v in (defaults | values).items()]
    return load_config(StepsConfig, None, overrides)


def make_trainer(
    folder: Path,
    *,
    precision: str = "fp32",
    clips: MadeUpClips | None = None,
    seed: int = 0,
    **values: Any,
) -> Trainer:
    config = steps_config(**values)
    torch.manual_seed(seed)  # adapters start at random
    accelerator = make_accelerator("cpu", precision)
    return Trainer(
        accelerator,
        Trainable(small_unet(temporal_start="svd"), config, frozen_dtype(accelerator)),
        clips or MadeUpClips(),
        conditioner(),
        schedule(),
        config,
        seed=seed,
        fault_folder=folder,
    )


def gradients(trainer: Trainer, step: int = 0) -> dict[str, Tensor]:
    """Gradients that step number ``step`` would move by, all parts of the batch taken."""
    for part in range(trainer.parts):
        with trainer._passes(step, part):
            loss, _ = trainer.loss(step, trainer._places(part))
            trainer.accelerator.backward(loss / trainer.parts)
    found = {n: p.grad.clone() for n, p in trainer.parameters.items() if p.grad is not None}
    trainer.optimizer.zero_grad()
    return found
