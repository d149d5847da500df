"""Objectives against the plain errors they stand for; the distribution of noise levels."""

import itertools
import math

import pytest
import torch
from other_targets import eps_from_v, x0_from_v
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.diffusion.objectives import (
    OBJECTIVES,
    ObjectiveConfig,
    sample_timesteps,
    velocity_error,
    velocity_weight,
)
from training_core.config import ConfigError, load_config

STEPS = torch.tensor([0, 3, 120, 284, 605, 999])


@pytest.fixture
def schedule() -> NoiseSchedule:
    betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    return NoiseSchedule((1.0 - betas).cumprod(0))


def plain_error(
    objective: str, schedule: NoiseSchedule, x0: Tensor, eps: Tensor, prediction: Tensor
) -> Tensor:
    """The slow way: turn the prediction into the target's own form and compare there."""
    x_t = schedule.add_noise(x0, eps, STEPS)
    guess_x0 = x0_from_v(schedule, x_t, prediction, STEPS)
    guess_eps = eps_from_v(schedule, x_t, prediction, STEPS)
    dims = (1, 2, 3, 4)
    if objective == "v":
        return (prediction - schedule.velocity(x0, eps, STEPS)).square().mean(dims)
    if objective == "x0":
        return (guess_x0 - x0).square().mean(dims)
    if objective == "eps":
        return (guess_eps - eps).square().mean(dims)
    return schedule.snr(STEPS).clamp(max=5.0) * (guess_x0 - x0).square().mean(dims)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_value_and_gradient_equal_the_plain_error(objective: str, schedule: NoiseSchedule) -> None:
    generator = torch.Generator().manual_seed(3)
    shape = (3, len(STEPS), 2, 4, 3, 5)
    x0, eps, start = torch.randn(shape, generator=generator, dtype=torch.float64)
    ours, slow = start.clone().requires_grad_(), start.clone().requires_grad_()

    weight = velocity_weight(objective, schedule.snr(STEPS))
    assert weight.dtype == torch.float32
    loss = weight * velocity_error(ours, schedule.velocity(x0, eps, STEPS))
    plain = plain_error(objective, schedule, x0, eps, slow)
    torch.testing.assert_close(loss.double(), plain, rtol=2e-5, atol=1e-9)

    loss.mean().backward()
    plain.mean().backward()
    assert ours.grad is not None and slow.grad is not None
    torch.testing.assert_close(ours.grad, slow.grad, rtol=2e-4, atol=1e-9)


def test_min_snr_lies_between_x0_and_eps(schedule: NoiseSchedule) -> None:
    snr = schedule.snr(torch.arange(1000))
    assert torch.equal(velocity_weight("min_snr", snr, math.inf), velocity_weight("eps", snr))
    strong = snr > 1.0
    torch.testing.assert_close(
        velocity_weight("min_snr", snr, 1.0)[strong], velocity_weight("x0", snr)[strong]
    )


def test_weights_are_computed_in_single_precision_whatever_comes_in() -> None:
    # In bfloat16 the x0 weight at SNR 2⁻¹⁰ would round to exactly one.
    weight = velocity_weight("x0", torch.tensor([2.0**-10], dtype=torch.bfloat16))
    assert weight.dtype == torch.float32 and weight.item() < 1.0
    near = torch.full((1, 2, 3), 1.0, dtype=torch.bfloat16)
    assert velocity_error(near, near * 1.0078125).dtype == torch.float32


def test_an_unknown_objective_or_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="'x1' is not one of: v, x0, eps, min_snr"):
        velocity_weight("x1", torch.ones(1))
    with pytest.raises(ConfigError, match="'cosine' is not one of: uniform, lognormal"):
        load_config(ObjectiveConfig, None, ["timesteps=cosine"])


def test_uniform_steps_cover_the_schedule_evenly(schedule: NoiseSchedule) -> None:
    steps = sample_timesteps(schedule, 20000, torch.Generator().manual_seed(0), ObjectiveConfig())
    assert steps.min() == 0 and steps.max() == 999
    counts = torch.histc(steps.float(), bins=10, min=0, max=1000)
    assert (counts - 2000).abs().max() < 200


def test_lognormal_steps_follow_the_normal_law_inside_the_range(schedule: NoiseSchedule) -> None:
    config = ObjectiveConfig(timesteps="lognormal")
    steps = sample_timesteps(schedule, 20000, torch.Generator().manual_seed(0), config)
    logs = schedule.sigma(steps).log()
    edges = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    normal = torch.distributions.Normal(0.7, 1.6)
    ends = schedule.sigma(torch.tensor([0, 999])).log()
    inside = normal.cdf(ends[1]) - normal.cdf(ends[0])
    for low, high in itertools.pairwise(edges):
        expected = (normal.cdf(high) - normal.cdf(low)) / inside
        found = ((logs >= low) & (logs < high)).double().mean()
        assert found.item() == pytest.approx(expected.item(), abs=0.012)
    # No heap on the end steps, as clamping would leave there.
    assert (steps == 999).double().mean() < 0.005


def test_the_same_generator_gives_the_same_steps(schedule: NoiseSchedule) -> None:
    for distribution in ("uniform", "lognormal"):
        config = ObjectiveConfig(timesteps=distribution)
        first, second = (
            sample_timesteps(schedule, 9, torch.Generator().manual_seed(7), config)
            for _ in range(2)
        )
        assert torch.equal(first, second) and first.dtype == torch.long
