"""The sampler: from noise to latents of T frames, with classifier-free guidance.

Guidance is that of Zero123++: the unconditional branch gets the empty prompt, no image token, and
the latents of a grey image, which it reads by reference attention as the other branch reads the
input (source: its pipeline; issue 66 for the raw condition latents).
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.networks.conditioning import Conditioning


@dataclass(frozen=True)
class Sampling:
    """Options of the sampler.

    Attributes:
        steps: evaluations of the network, twice that many with guidance.
        guidance: scale of classifier-free guidance; at 1 or less there is no unconditional branch.
        shared_noise: all frames start from the same noise.
        shared_step_noise: likewise for what an ancestral sampler adds at each step; None = as
            ``shared_noise``. With both, frames of a network without temporal layers differ only by
            their condition.
        batched: both branches of guidance in one call; else one after the other, with half the
            memory and the same result.
        spatial_only: leave the temporal layers out: Zero123++, frame by frame.
    """

    steps: int = 28
    guidance: float = 4.0
    shared_noise: bool = False
    shared_step_noise: bool | None = None
    batched: bool = True
    spatial_only: bool = False


@dataclass(frozen=True, eq=False)
class SamplerConditions:
    """Everything that conditions the sampling of B videos; all on the network's device.

    Attributes:
        condition: [B, Tc, 4, h', w'], raw latents of the input images, Tc = 1 or T.
        no_condition: [4, h', w'], those of the grey image.
        prompt: [B, Tc, 77, D], ramped image embeddings.
        no_prompt: [77, D], the empty prompt.
        image_token: [B, Tc, 1, D]; the first frame's is what the temporal layers see.
        added_time_ids: [B, 3], see ``Conditioning``.
    """

    condition: Tensor
    no_condition: Tensor
    prompt: Tensor
    no_prompt: Tensor
    image_token: Tensor
    added_time_ids: Tensor

    def unconditional(self) -> "SamplerConditions":
        """The conditions of the unconditional branch of guidance, for the same videos."""
        return replace(
            self,
            condition=self.no_condition.expand_as(self.condition),
            prompt=self.no_prompt.expand_as(self.prompt),
            image_token=torch.zeros_like(self.image_token),
        )

    def conditioning(self, c_noise: Tensor) -> Conditioning:
        """The network's conditioning at one noise level, [B]."""
        prompt = self.prompt[:, 0] if self.prompt.shape[1] == 1 else self.prompt
        return Conditioning(prompt, self.image_token[:, 0], c_noise, self.added_time_ids)


@torch.no_grad()
def sample_latents(
    unet: Any,
    scheduler: Any,
    conditions: SamplerConditions,
    shape: tuple[int, int, int, int],
    sampling: Sampling,
    generator: torch.Generator,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Scaled latents [B, T, 4, h, w], float32, on the device of ``conditions``.

    All random numbers come from ``generator`` (on any device), in an order that does not depend on
    ``batched``.

    Args:
        unet: MNVSUNet or MNVSMotionUNet.
        scheduler: a diffusers scheduler for v prediction; a copy of it is used.
        shape: (T, 4, h, w) of one video.
        on_step: called after each step with the number of steps done.
    """
    scheduler = copy.deepcopy(scheduler)
    schedule = NoiseSchedule.from_scheduler(scheduler)
    device, videos = conditions.condition.device, len(conditions.condition)
    scheduler.set_timesteps(sampling.steps, device=device)

    def draw(shape: tuple[int, ...]) -> Tensor:
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return noise.to(device)

    latents = draw((videos, 1 if sampling.shared_noise else shape[0], *shape[1:]))
    latents = latents.expand(-1, shape[0], -1, -1, -1) * scheduler.init_noise_sigma
    branches = [conditions.unconditional(), conditions] if sampling.guidance > 1.0 else [conditions]
    step_noise = _step_generators(sampling, generator, videos, shape[0])
    for number, time in enumerate(scheduler.timesteps):
        times = time.to(device).expand(videos)
        noisy = scheduler.scale_model_input(latents, time).to(unet.dtype)
        noised = [
            schedule.add_noise(branch.condition, draw(branch.condition.shape), times).to(unet.dtype)
            for branch in branches
        ]
        time_code = schedule.c_noise(times)
        conditionings = [b.conditioning(time_code).to(device, unet.dtype) for b in branches]
        outputs = _evaluate(unet, noisy, times, conditionings, noised, sampling)
        velocity = outputs[-1]
        if len(outputs) == 2:
            velocity = outputs[0] + sampling.guidance * (outputs[1] - outputs[0])
        latents = _step(scheduler, velocity, time, latents, step_noise)
        if on_step is not None:
            on_step(number + 1)
    return latents


def _evaluate(
    unet: Any,
    noisy: Tensor,
    times: Tensor,
    conditionings: list[Conditioning],
    conditions: list[Tensor],
    sampling: Sampling,
) -> list[Tensor]:
    """v of each branch, [B, T, 4, h, w] float32: write pass, then read pass."""
    if sampling.batched:
        groups = [(Conditioning.cat(conditionings), torch.cat(conditions))]
    else:
        groups = list(zip(conditionings, conditions, strict=True))
    outputs: list[Tensor] = []
    for conditioning, condition in groups:
        share = len(condition) // len(noisy)
        steps = times.repeat(share)
        reference = unet.write_reference(condition, steps, conditioning.prompt)
        samples = noisy.repeat(share, 1, 1, 1, 1)
        output = unet(samples, steps, conditioning, reference, spatial_only=sampling.spatial_only)
        outputs += output.float().chunk(share)
    return outputs


def _step(
    scheduler: Any,
    velocity: Tensor,
    time: Tensor,
    latents: Tensor,
    generators: torch.Generator | list[torch.Generator],
) -> Tensor:
    """One step of the scheduler with frames as its batch, so that each may have its generator."""
    extra = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        extra["generator"] = generators
    flat = scheduler.step(velocity.flatten(0, 1), time, latents.flatten(0, 1), **extra)
    return flat.prev_sample.view_as(latents)


def _step_generators(
    sampling: Sampling, generator: torch.Generator, videos: int, frames: int
) -> torch.Generator | list[torch.Generator]:
    """One generator for all frames, or one for each, those of a video in the same state."""
    shared = sampling.shared_step_noise
    if shared is None:
        shared = sampling.shared_noise
    if not shared:
        return generator
    seeds = torch.randint(1 << 62, (videos,), generator=generator, device=generator.device)
    return [
        torch.Generator(generator.device).manual_seed(seed)
        for seed in seeds.tolist()
        for _ in range(frames)
    ]
