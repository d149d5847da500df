"""What chance decides in a training step, as a function of seed, step and place in the batch.

Nothing depends on how many steps were run before in this process, on how the batch is divided into
parts and processes, or on the device: runs can be stopped, moved and spread out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.diffusion.objectives import ObjectiveConfig, sample_timesteps


@dataclass(frozen=True, eq=False)
class StepNoise:
    """For B videos of T frames:

    Attributes:
        steps: [B] long, the noise level: one for a video, or frames could not be told apart.
        noise: [B, T, 4, h, w], independent for every frame.
        condition_noise: [B, Tc, 4, h', w'].
        dropped: [B] bool, videos whose condition is withheld.
    """

    steps: Tensor
    noise: Tensor
    condition_noise: Tensor
    dropped: Tensor

    def to(self, device: torch.device) -> "StepNoise":
        """On ``device``."""
        tensors = (self.steps, self.noise, self.condition_noise, self.dropped)
        return StepNoise(*(t.to(device, non_blocking=True) for t in tensors))


def draw(
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
    steps, noise, condition_noise, dropped = [], [], [], []
    for index in indices:
        generator = torch.Generator().manual_seed(derive_seed(seed, step, index))
        steps.append(
            sample_timesteps(
                schedule, 1, generator, config.timesteps, config.log_mean, config.log_std
            )
        )
        # Drawn always, so that another share changes nothing else.
        dropped.append(torch.rand(1, generator=generator) < config.drop_condition)
        noise.append(torch.randn(*shape, generator=generator))
        condition_noise.append(torch.randn(*condition_shape, generator=generator))
    return StepNoise(
        torch.cat(steps), torch.stack(noise), torch.stack(condition_noise), torch.cat(dropped)
    )


def derive_seed(*parts: int) -> int:
    """A seed for a generator from several numbers; neighbours give unrelated ones."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
