"""Encoded clips as batches, and their conditioning."""

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
        """The video at place ``index`` of optimizer step ``step``; the same at every call."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B encoded videos of T frames of latents, with Tc (1 or T) condition images each.

    Attributes:
        latents: [B, T, 4, h, w], scaled. condition: [B, Tc, 4, h', w'], raw.
        no_condition: [B, 1, 4, h', w'], the grey image that stands for a missing one.
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
        """The batch with grey images and no embedding where ``dropped`` [B] is true, which is the
        unconditional branch of classifier-free guidance in the pipeline.
        """
        rows = dropped.view(-1, 1, 1, 1, 1)
        return replace(
            self,
            condition=torch.where(rows, self.no_condition, self.condition),
            image_token=self.image_token.masked_fill(rows[..., 0], 0.0),
        )


class Conditioner:
    """Makes the conditioning of a batch, in the same way as the pipeline.

    Args:
        prompts: image tokens [B, Tc, 1, D] → prompts [B, Tc, 77, D], zeros → the empty one:
            ``Encoders.prompts``.
    """

    def __init__(
        self, prompts: Callable[[Tensor], Tensor], schedule: NoiseSchedule, model: ModelConfig
    ) -> None:
        self.prompts, self.schedule, self.model = prompts, schedule, model

    def __call__(self, batch: Batch, timesteps: Tensor) -> Conditioning:
        """The conditioning of a batch at noise levels ``timesteps`` [B]."""
        ids = batch.fps.new_tensor([self.model.motion_bucket, self.model.noise_augmentation])
        ids = torch.cat([batch.fps[:, None] - 1.0, ids.expand(len(timesteps), 2)], dim=1)
        prompt = self.prompts(batch.image_token)
        return Conditioning(
            prompt=prompt[:, 0] if prompt.shape[1] == 1 else prompt,
            image_token=batch.image_token[:, 0],
            c_noise=self.schedule.c_noise(timesteps),
            added_time_ids=ids,
        )


@dataclass(frozen=True, eq=False)
class NoisyBatch:
    """A batch at its noise levels: the network's inputs and the v that it should predict."""

    latents: Tensor
    condition: Tensor
    velocity: Tensor


def add_noise(batch: Batch, noise: StepNoise, schedule: NoiseSchedule) -> NoisyBatch:
    """Noise a batch: clip and condition of a video share the level, each has its own noise."""
    timesteps = noise.timesteps
    return NoisyBatch(
        schedule.add_noise(batch.latents, noise.latent_noise, timesteps),
        schedule.add_noise(batch.condition, noise.condition_noise, timesteps),
        schedule.velocity(batch.latents, noise.latent_noise, timesteps),
    )
