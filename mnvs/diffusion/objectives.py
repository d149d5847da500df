"""Training objectives: the weight of a video's error, and the distribution of noise levels.

The network predicts v. Errors of the other targets are fixed multiples of the error of v, so every
objective is the error of v times a weight that depends on the noise level alone:

    |v̂ - v|²    weight 1              (SVD's EDM-weighted error of x0)
    |x̂0 - x0|²  weight 1 / (SNR + 1)   = 1 - ᾱ
    |ε̂ - ε|²    weight SNR / (SNR + 1) = ᾱ
    min-SNR(γ)  weight min(SNR, γ) / (SNR + 1)   (Hang et al. 2023, for v)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from training_core.checks import in_unit_interval, positive
from training_core.config import option

OBJECTIVES = ("v", "x0", "eps", "min_snr")


@dataclass
class ObjectiveConfig:
    target: str = option(
        "v",
        "whose error is minimised: x0 as in the report; min_snr is v weighted by SNR",
        OBJECTIVES,
    )
    gamma: float = option(5.0, "cap of the signal-to-noise ratio in min_snr")
    timesteps: str = option(
        "uniform",
        "distribution of noise levels: uniform, or ln sigma normal",
        ("uniform", "lognormal"),
    )
    log_mean: float = option(0.7, "mean of ln sigma when lognormal (SVD's fine-tuning)")
    log_std: float = option(1.6, "standard deviation of ln sigma when lognormal")
    drop_condition: float = option(
        0.1, "fraction of clips trained without condition (grey image, empty prompt), for guidance"
    )

    def validate(self) -> None:
        """Raises ValueError on numbers out of range."""
        positive(gamma=self.gamma, log_std=self.log_std)
        in_unit_interval(drop_condition=self.drop_condition)


def velocity_weight(objective: str, snr: Tensor, gamma: float = 5.0) -> Tensor:
    """Weight of the squared error of v at signal-to-noise ratio ``snr`` [B], float32.

    Raises:
        ValueError: an objective that is not in ``OBJECTIVES``.
    """
    snr = snr.float()
    if objective == "v":
        return torch.ones_like(snr)
    if objective == "x0":
        return 1.0 / (snr + 1.0)
    if objective == "eps":
        return snr / (snr + 1.0)
    if objective == "min_snr":
        return snr.clamp(max=gamma) / (snr + 1.0)
    raise ValueError(f"objective {objective!r} is not one of: {', '.join(OBJECTIVES)}")


def velocity_error(prediction: Tensor, velocity: Tensor) -> Tensor:
    """Mean squared error of v per video in float32: [B, ...] twice → [B]."""
    return (prediction.float() - velocity.float()).square().flatten(1).mean(1)


def sample_timesteps(
    schedule: NoiseSchedule,
    count: int,
    generator: torch.Generator,
    config: ObjectiveConfig,
) -> Tensor:
    """Timesteps [count] long on the generator's device, one per video.

    Uniform over timesteps; or ln σ normal (SVD's fine-tuning), cut to the schedule's range and
    rounded to a timestep.
    """
    if config.timesteps == "uniform":
        return torch.randint(len(schedule), (count,), generator=generator, device=generator.device)
    mean, std = config.log_mean, config.log_std
    last = torch.tensor([0, len(schedule) - 1])
    low, high = (
        0.5 * (1.0 + math.erf((math.log(sigma) - mean) / (std * math.sqrt(2.0))))
        for sigma in schedule.sigma(last).tolist()
    )
    # By quantiles: clamping would give the two end steps the weight of the whole tails.
    share = torch.rand(count, generator=generator, device=generator.device)
    quantile = (low + (high - low) * share.double()).clamp(1e-12, 1.0 - 1e-12)
    normal = math.sqrt(2.0) * torch.erfinv(2.0 * quantile - 1.0)
    return schedule.nearest_timestep((mean + std * normal).exp())
