"""x0 and ε from a prediction of v, written out from the schedule's ᾱ by way of σ."""

from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule


def x0_from_v(schedule: NoiseSchedule, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """x0 = √ᾱ x_t - √(1-ᾱ) v."""
    sigma = schedule.sigma(t).view(-1, *[1] * (x_t.dim() - 1))
    return (x_t - sigma * v) / (1.0 + sigma.square()).sqrt()


def eps_from_v(schedule: NoiseSchedule, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """ε = √ᾱ v + √(1-ᾱ) x_t."""
    sigma = schedule.sigma(t).view(-1, *[1] * (x_t.dim() - 1))
    return (v + sigma * x_t) / (1.0 + sigma.square()).sqrt()
