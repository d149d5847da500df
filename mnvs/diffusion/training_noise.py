"""Random quantities of a training step, as a function of seed, step and place in the batch.

Nothing depends on how many steps were run before in this process, on how the batch is divided into
parts and processes, or on the device: a run can be stopped, moved to another machine and divided
among processes without changing them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.diffusion.objectives import ObjectiveConfig, sample_timesteps
from training_core.step.seeds import derive_seed


@dataclass(frozen=True, eq=False)
class StepNoise:
    """Noise levels, noise and dropped conditions of B videos of T frames.

    Attributes:
        timesteps: [B] long, the noise level, one for all frames of a video.
        latent_noise: [B, T, 4, h, w], independent for every frame.
        condition_noise: [B, Tc, 4, h', w'].
        dropped: [B] bool, videos that are trained without condition.
    """

    timesteps: Tensor
    latent_noise: Tensor
    condition_noise: Tensor
    dropped: Tensor

    def to(self, device: torch.device) -> "StepNoise":
        """On ``device``."""
        tensors = (self.timesteps, self.latent_noise, self.condition_noise, self.dropped)
        return StepNoise(*(t.to(device, non_blocking=True) for t in tensors))


def draw_noise(
    seed: int,
    step: int,
    indices: Sequence[int],
    shape: Sequence[int],
    condition_shape: Sequence[int],
    schedule: NoiseSchedule,
    config: ObjectiveConfig,
) -> StepNoise:
    """Draw for the videos at places ``indices`` of optimizer step ``step``; float32, on the CPU.

    Args:
        shape: [T, 4, h, w] of one video. condition_shape: [Tc, 4, h', w'] of its condition.
    """
    timesteps, latent_noise, condition_noise, dropped = [], [], [], []
    for index in indices:
        generator = torch.Generator().manual_seed(derive_seed(seed, step, index))
        timesteps.append(sample_timesteps(schedule, 1, generator, config))
        # Always drawn, so that another fraction leaves the noise below as it is.
        dropped.append(torch.rand(1, generator=generator) < config.drop_condition)
        latent_noise.append(torch.randn(*shape, generator=generator))
        condition_noise.append(torch.randn(*condition_shape, generator=generator))
    return StepNoise(
        torch.cat(timesteps),
        torch.stack(latent_noise),
        torch.stack(condition_noise),
        torch.cat(dropped),
    )
