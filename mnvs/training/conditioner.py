"""Encoded clips as batches, and what the network is told about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from mnvs.data.latent_cache import EncodedClip
from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.diffusion.training_noise import StepNoise
from mnvs.networks.conditioning import Conditioning
from mnvs.training.config import ModelConfig


class Clips(Protocol):
    """Where a trainer gets its videos: ``mnvs.data.latent_cache.EncodedDataset``."""

    def sample(self, step: int, index: int) -> EncodedClip:
        """The video at place ``index`` of optimizer step ``step``; the same whenever asked."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B encoded videos of T frames of latents, with Tc (1 or T) condition images each.

    Attributes:
        latents: [B, T, 4, h, w], scaled. condition: [B, Tc, 4, h', w'], raw.
        no_condition: [B, 1, 4, h', w'], the grey image that stands for none.
        image_token: [B, Tc, 1, D], CLIP's embedding of the images.
        fps: [B], frames per second of the clip as taken (strides included).
    """

    latents: Tensor
    condition: Tensor
    no_condition: Tensor
    image_token: Tensor
    fps: Tensor

    @classmethod
    def of(cls, clips: Sequence[EncodedClip]) -> "Batch":
        """The batch of these clips, which must be of one shape."""
        return cls(
            torch.stack([clip.latents for clip in clips]),
            torch.stack([clip.condition for clip in clips]),
            torch.stack([clip.no_condition for clip in clips])[:, None],
            torch.stack([clip.image_token for clip in clips]),
            torch.tensor([clip.fps for clip in clips]),
        )

    def to(self, device: torch.device) -> "Batch":
        """On ``device``."""
        tensors = (self.latents, self.condition, self.no_condition, self.image_token, self.fps)
        return Batch(*(t.to(device, non_blocking=True) for t in tensors))

    def drop_condition(self, dropped: Tensor) -> "Batch":
        """With grey images and no embedding where ``dropped`` [B] says so: the unconditional
        branch of classifier-free guidance, as the pipeline has it.
        """
        rows = dropped.view(-1, 1, 1, 1, 1)
        return replace(
            self,
            condition=torch.where(rows, self.no_condition, self.condition),
            image_token=self.image_token.masked_fill(rows[..., 0], 0.0),
        )


class Conditioner:
    """Says what the network is told about a batch, the same way as the pipeline does.

    Args:
        prompts: image tokens [B, Tc, 1, D] → prompts [B, Tc, 77, D], zeros → the empty one:
            ``Encoders.prompts``.
    """

    def __init__(
        self, prompts: Callable[[Tensor], Tensor], schedule: NoiseSchedule, model: ModelConfig
    ) -> None:
        self.prompts, self.schedule, self.model = prompts, schedule, model

    def __call__(self, batch: Batch, steps: Tensor) -> Conditioning:
        """What the network is told at noise level ``steps`` [B]."""
        ids = batch.fps.new_tensor([self.model.motion_bucket, self.model.noise_augmentation])
        ids = torch.cat([batch.fps[:, None] - 1.0, ids.expand(len(steps), 2)], dim=1)
        prompt = self.prompts(batch.image_token)
        return Conditioning(
            prompt=prompt[:, 0] if prompt.shape[1] == 1 else prompt,
            image_token=batch.image_token[:, 0],
            c_noise=self.schedule.c_noise(steps),
            added_time_ids=ids,
        )


@dataclass(frozen=True, eq=False)
class NoisyBatch:
    """A batch at its noise levels: the network's inputs and the v it should say."""

    latents: Tensor
    condition: Tensor
    velocity: Tensor


def add_noise(batch: Batch, draws: StepNoise, schedule: NoiseSchedule) -> NoisyBatch:
    """Noise a batch; image and condition of a video share its level, not their noise."""
    steps = draws.steps
    return NoisyBatch(
        schedule.add_noise(batch.latents, draws.noise, steps),
        schedule.add_noise(batch.condition, draws.condition_noise, steps),
        schedule.velocity(batch.latents, draws.noise, steps),
    )
