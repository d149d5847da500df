"""The noise schedule against its definitions and against diffusers, in float64 where it can be."""

import math

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from other_targets import eps_from_v, x0_from_v
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule

BETAS = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)


@pytest.fixture
def schedule() -> NoiseSchedule:
    """Zero123++'s: 1000 steps, linear betas."""
    return NoiseSchedule((1.0 - BETAS).cumprod(0))


def draw(t: Tensor) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (len(t), 3, 4, 5, 2)
    return tuple(torch.randn(2, *shape, generator=generator, dtype=torch.float64))  # type: ignore[return-value]


STEPS = torch.tensor([0, 1, 120, 284, 605, 835, 999])
FRACTIONS = torch.tensor([0.0, 0.25, 119.7, 500.5, 998.9999, 999.0], dtype=torch.float64)


@pytest.mark.parametrize("t", [STEPS, FRACTIONS], ids=["whole", "fractional"])
def test_velocity_noise_and_picture_say_the_same(schedule: NoiseSchedule, t: Tensor) -> None:
    x0, eps = draw(t)
    x_t, v = schedule.add_noise(x0, eps, t), schedule.velocity(x0, eps, t)
    torch.testing.assert_close(x0_from_v(schedule, x_t, v, t), x0, rtol=0, atol=1e-13)
    torch.testing.assert_close(eps_from_v(schedule, x_t, v, t), eps, rtol=0, atol=1e-13)
    # The rotation keeps lengths: x_t and v together hold as much as x0 and ε.
    torch.testing.assert_close(x_t**2 + v**2, x0**2 + eps**2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("t", [STEPS, FRACTIONS], ids=["whole", "fractional"])
def test_edm_and_variance_preserving_forms_agree(schedule: NoiseSchedule, t: Tensor) -> None:
    x0, eps = draw(t)
    sigma = schedule.sigma(t).view(-1, 1, 1, 1, 1)
    x_edm = x0 + sigma * eps
    c_in, c_skip = (1 + sigma**2).rsqrt(), 1 / (1 + sigma**2)
    c_out = -sigma * (1 + sigma**2).rsqrt()
    x_t = schedule.add_noise(x0, eps, t)
    torch.testing.assert_close(c_in * x_edm, x_t, rtol=0, atol=1e-13)
    prediction = torch.sin(7.0 * x_t)  # any network output
    denoised = c_skip * x_edm + c_out * prediction
    ours = x0_from_v(schedule, x_t, prediction, t)
    torch.testing.assert_close(denoised, ours, rtol=0, atol=1e-12)
    # EDM's loss weight (1+σ²)/σ² on the x0 error is plain MSE on v.
    weighted = (1 + sigma**2) / sigma**2 * (denoised - x0) ** 2
    plain = (prediction - schedule.velocity(x0, eps, t)) ** 2
    torch.testing.assert_close(weighted, plain, rtol=1e-6, atol=1e-9)


def test_errors_of_the_three_targets_are_multiples_of_each_other(schedule: NoiseSchedule) -> None:
    x0, eps = draw(STEPS)
    x_t, v = schedule.add_noise(x0, eps, STEPS), schedule.velocity(x0, eps, STEPS)
    guess = v + torch.cos(3.0 * x_t)
    dims = (1, 2, 3, 4)
    x0_error = (x0_from_v(schedule, x_t, guess, STEPS) - x0).square().sum(dims)
    eps_error = (eps_from_v(schedule, x_t, guess, STEPS) - eps).square().sum(dims)
    v_error = (guess - v).square().sum(dims)
    snr, alpha_bar = schedule.snr(STEPS), schedule.alphas_cumprod[STEPS]
    torch.testing.assert_close(x0_error, eps_error / snr, rtol=1e-9, atol=0)
    torch.testing.assert_close(x0_error, v_error / (snr + 1.0), rtol=1e-9, atol=0)
    torch.testing.assert_close(x0_error, (1.0 - alpha_bar) * v_error, rtol=1e-9, atol=0)
    torch.testing.assert_close(eps_error, alpha_bar * v_error, rtol=1e-9, atol=0)


def test_zero123plus_figures(schedule: NoiseSchedule) -> None:
    ends = torch.tensor([0, 999])
    assert schedule.c_noise(ends).tolist() == pytest.approx([-0.884, 0.806], abs=5e-4)
    assert schedule.sigma(ends[1:]).item() == pytest.approx(25.15, abs=5e-3)
    assert schedule.snr(torch.tensor([120, 284, 835])).tolist() == pytest.approx(
        [5.0, 1.0, 0.01], rel=0.02
    )
    logs = schedule.sigma(torch.arange(1000)).log()
    assert logs.mean().item() == pytest.approx(0.82, abs=0.01)
    assert logs.std().item() == pytest.approx(1.34, abs=0.01)


def test_fractional_steps_are_those_of_euler_schedulers() -> None:
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "linspace",
    }
    for kind in (EulerDiscreteScheduler, EulerAncestralDiscreteScheduler):
        scheduler = kind(**settings)
        scheduler.set_timesteps(30)
        steps = torch.as_tensor(scheduler.timesteps)
        assert (steps != steps.round()).any(), "linspace spacing must give fractional steps"
        ours = NoiseSchedule.from_scheduler(scheduler).sigma(steps)
        torch.testing.assert_close(ours, scheduler.sigmas[:-1].to(ours.dtype), rtol=1e-5, atol=1e-5)


def test_fractional_steps_against_numpy(schedule: NoiseSchedule) -> None:
    t = torch.tensor([-3.0, 0.5, 17.25, 998.5, 1200.0], dtype=torch.float64)
    table = schedule.sigma(torch.arange(1000)).numpy()
    expected = np.interp(t.numpy(), np.arange(1000), table)
    np.testing.assert_allclose(schedule.sigma(t).numpy(), expected, rtol=1e-12)


def test_nearest_timestep_against_a_search_of_all(schedule: NoiseSchedule) -> None:
    generator = torch.Generator().manual_seed(2)
    sigma = (torch.randn(200, generator=generator, dtype=torch.float64) * 1.6 + 0.7).exp()
    levels = schedule.sigma(torch.arange(1000)).log()
    brute = (sigma.log()[:, None] - levels).abs().argmin(1)
    assert torch.equal(schedule.nearest_timestep(sigma), brute)
    assert torch.equal(schedule.nearest_timestep(schedule.sigma(STEPS)), STEPS)
    ends = torch.tensor([1e-9, 1e9])
    assert schedule.nearest_timestep(ends).tolist() == [0, 999]


def test_half_precision_tensors_keep_their_dtype_and_single_rounding() -> None:
    schedule = NoiseSchedule((1.0 - BETAS).cumprod(0).float())
    x0, eps = (x.to(torch.bfloat16) for x in draw(STEPS))
    x_t = schedule.add_noise(x0, eps, STEPS)
    exact = schedule.add_noise(x0.double(), eps.double(), STEPS)
    assert x_t.dtype == torch.bfloat16
    torch.testing.assert_close(x_t, exact.to(torch.bfloat16), rtol=2**-7, atol=1e-6)
    assert schedule.sigma(STEPS).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [[0.5, 0.6], [1.0, 0.5], [0.5, 0.0], [[0.5, 0.4]], [0.5, math.nan]]
)
def test_impossible_schedules_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="falling numbers between 0 and 1"):
        NoiseSchedule(torch.tensor(wrong))
