"""Score Jacobian Chaining against score models whose answers are known on paper."""

import math

import numpy as np
import pytest
import torch
from gaussian_mixture import GaussianMixture

from blender_render.geometry.cameras import multiview_cameras
from sjc_papr.networks.rays import camera_rays
from sjc_papr.novel_view.config import SjcConfig
from sjc_papr.novel_view.sjc import Sjc, draw_level, level_weight, sjc_field, surrogate
from sjc_papr.score_models.base import NoiseLevels
from sjc_papr.score_models.framing import square_view

LEVELS = NoiseLevels.scaled_linear()
CAMERAS = multiview_cameras(3, 2.5, 0.6, (8, 8))


def field(model, y, t, form, generator, *, guidance=1.0, weighting="uniform"):
    """g of SJC at a fixed level for values y [n], many draws of the noise at once."""
    steps = torch.full((len(y),), t)
    shaped = y.view(-1, 1, 1, 1).float()
    noise = torch.randn(shaped.shape, generator=generator)
    noisy = model.levels.add_noise(shaped, noise, steps)
    condition = model.condition(torch.zeros(3, 8, 8), CAMERAS[0])
    predicted = model.predict_noise(noisy, steps, condition, CAMERAS, guidance)
    config = SjcConfig(form=form, weighting=weighting)
    return sjc_field(predicted, noise, model.levels, steps, config).flatten().double()


def test_noise_levels_are_stable_diffusions():
    sigma = [float(LEVELS.sigma(torch.tensor([t]))) for t in (0, 10, 20, 100, 300, 500, 900, 999)]
    expected = [0.029, 0.098, 0.138, 0.344, 0.833, 1.618, 8.35, 14.61]
    assert sigma == pytest.approx(expected, rel=0.02)


def test_noise_levels_refuse_what_does_not_fall():
    with pytest.raises(ValueError, match="fall"):
        NoiseLevels(torch.tensor([0.5, 0.6]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        NoiseLevels(torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize("t", [10, 300, 600, 969])
def test_model_input_is_the_scaled_noisy_view(t):
    y, noise = torch.randn(2, 1, 3, 8, 8)
    steps = torch.tensor([t])
    sigma = LEVELS.sigma(steps)
    z = y + sigma * noise
    assert torch.allclose(LEVELS.add_noise(y, noise, steps), z / (1.0 + sigma**2).sqrt(), atol=1e-6)


def test_denoising_with_the_true_noise_gives_the_clean_image():
    y, noise = torch.randn(2, 1, 3, 8, 8)
    steps = torch.tensor([700])
    noisy = LEVELS.add_noise(y, noise, steps)
    assert torch.allclose(LEVELS.clean_from_noise(noisy, noise, steps), y, atol=1e-4)


@pytest.mark.parametrize("form", ["reduced", "plain"])
@pytest.mark.parametrize("t", [100, 500, 900])
def test_expected_field_of_a_gaussian(form, t):
    mean, deviation, y = 0.3, 0.5, 0.9
    model = GaussianMixture([mean], [deviation])
    draws = field(model, torch.full((400_000,), y), t, form, torch.Generator().manual_seed(0))
    sigma = float(LEVELS.sigma(torch.tensor([t])))
    expected = sigma * (mean - y) / (deviation**2 + sigma**2)
    spread = (deviation**2 if form == "reduced" else sigma**2) / (deviation**2 + sigma**2)
    assert draws.mean().item() == pytest.approx(expected, abs=5.0 * spread / math.sqrt(len(draws)))
    assert draws.std().item() == pytest.approx(spread, rel=0.01)


def test_variance_is_reduced_only_above_the_datas_own_spread():
    model = GaussianMixture([0.0], [0.833])
    for t, reduced_is_less in ((100, False), (900, True)):
        spreads = [
            field(model, torch.zeros(20_000), t, form, torch.Generator().manual_seed(1)).std()
            for form in ("reduced", "plain")
        ]
        assert bool(spreads[0] < spreads[1]) is reduced_is_less


@pytest.mark.parametrize("t", [50, 600])
def test_mixture_against_quadrature(t):
    model = GaussianMixture([-0.6, 0.7], [0.2, 0.4], [0.3, 0.7])
    y = 0.25
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    noise = torch.from_numpy(nodes).view(-1, 1, 1, 1)
    steps = torch.full((200,), t)
    abar = LEVELS.alphas_cumprod[steps].view(-1, 1, 1, 1)
    noisy = abar.sqrt() * y + (1.0 - abar).sqrt() * noise
    condition = model.condition(torch.zeros(3, 8, 8), CAMERAS[0])
    exact = model.predict_noise(noisy, steps, condition, CAMERAS).flatten().numpy() @ weights
    exact /= weights.sum()
    draws = field(model, torch.full((400_000,), y), t, "plain", torch.Generator().manual_seed(2))
    assert -draws.mean().item() == pytest.approx(exact, abs=4e-3)


def test_mixtures_noise_is_the_gradient_of_its_density():
    model = GaussianMixture([-0.6, 0.7], [0.2, 0.4], [0.3, 0.7])
    x = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64, requires_grad=True)
    steps = torch.full((9,), 400)
    abar = LEVELS.alphas_cumprod[400]
    density = sum(
        share
        * torch.distributions.Normal(abar.sqrt() * m, (abar * d * d + 1 - abar).sqrt())
        .log_prob(x)
        .exp()
        for m, d, share in ((-0.6, 0.2, 0.3), (0.7, 0.4, 0.7))
    )
    (score,) = torch.autograd.grad(density.log().sum(), x)
    condition = model.condition(torch.zeros(3, 8, 8), CAMERAS[0])
    noise = model.predict_noise(x.detach().view(-1, 1, 1, 1), steps, condition, CAMERAS)
    assert torch.allclose(noise.flatten(), -(1 - abar).sqrt() * score, atol=1e-9)


def test_reduced_form_is_score_distillation_and_plain_is_the_bare_prediction():
    predicted, noise = torch.randn(2, 4, 3, 8, 8)
    steps = torch.tensor([10, 300, 600, 900])
    uniform = {
        form: sjc_field(predicted, noise, LEVELS, steps, SjcConfig(form=form, weighting="uniform"))
        for form in ("reduced", "plain")
    }
    assert torch.equal(uniform["reduced"], noise - predicted)
    assert torch.equal(uniform["plain"], -predicted)


def test_residual_weighting_pulls_to_the_denoised_view():
    y, noise, predicted = torch.randn(3, 4, 3, 8, 8)
    steps = torch.tensor([10, 300, 600, 900])
    noisy = LEVELS.add_noise(y, noise, steps)
    denoised = LEVELS.clean_from_noise(noisy, predicted, steps)
    g = sjc_field(predicted, noise, LEVELS, steps, SjcConfig(weighting="residual"))
    assert torch.allclose(g, denoised - y, atol=1e-4)


def test_weights_of_a_level():
    steps = torch.tensor([10, 300, 900])
    sigma, abar = LEVELS.sigma(steps), LEVELS.abar(steps)
    assert torch.allclose(level_weight("sds", LEVELS, steps), 1.0 - abar)
    assert torch.allclose(level_weight("score", LEVELS, steps), 1.0 / sigma)
    assert torch.equal(level_weight("uniform", LEVELS, steps), torch.ones(3, 1, 1, 1))


def test_surrogate_injects_the_field_and_nothing_else():
    theta = torch.randn(5, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(12, 5, dtype=torch.float64)
    g = torch.randn(12, dtype=torch.float64)
    surrogate(matrix @ theta, g, "sum").backward()
    assert torch.allclose(theta.grad, -matrix.T @ g, atol=1e-12)
    theta.grad = None
    surrogate(matrix @ theta, g, "mean").backward()
    assert torch.allclose(theta.grad, -matrix.T @ g / 12, atol=1e-12)


@pytest.mark.parametrize(("guidance", "fixed_point"), [(1.0, 0.4), (3.0, 1.2), (0.0, 0.0)])
def test_descent_ends_where_guidance_says(guidance, fixed_point):
    """Guidance 3 already leaves [0, 1]; 100, the report's, would end at 40."""
    model = GaussianMixture([0.4], [0.3], unconditional_means=[0.0])
    generator, y = torch.Generator().manual_seed(3), torch.full((2000,), 0.9, dtype=torch.float64)
    for step in range(400):
        t = int(torch.randint(200, 900, (), generator=generator))
        y = y + 0.3 * 0.99**step * field(model, y, t, "reduced", generator, guidance=guidance)
    assert y.mean().item() == pytest.approx(fixed_point, abs=0.02)


def make(config=None, side=8):
    model = GaussianMixture([0.4], [0.3], picture_size=side)
    images = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(4))
    return Sjc(model, config or SjcConfig(), images, CAMERAS)


def test_term_has_the_fields_gradient_and_leaves_the_model_alone():
    rgb = torch.rand(8, 8, 3, requires_grad=True)
    term = make(SjcConfig(form="reduced", weighting="residual"))
    result = term(rgb, CAMERAS[0], 0.0, torch.Generator().manual_seed(5))
    result.loss.backward()
    expected = (rgb.detach() - result.denoised[0].permute(1, 2, 0)) / rgb.numel()
    assert torch.allclose(rgb.grad, expected, atol=1e-6)
    assert not result.denoised.requires_grad and not result.residual.requires_grad


def test_size_of_the_gradient_does_not_depend_on_the_resolution():
    """Defect 9: a sum over pixels beside a mean over pixels needs weights of 1e5."""
    norms = []
    for side in (8, 32):
        rgb = torch.zeros(side, side, 3, requires_grad=True)
        term = make(SjcConfig(noise_min=0.9, noise_max=0.9), side)
        term(rgb, CAMERAS[0], 0.0, torch.Generator().manual_seed(6)).loss.backward()
        norms.append(rgb.grad.sum().abs().item())
    assert norms[0] == pytest.approx(norms[1], rel=0.2)


def test_conditions_are_prepared_once_and_are_the_nearest(monkeypatch):
    """Defect 6: the conditioning view was a random crop, embedded again in every step."""
    term, calls = make(), []
    prepare = term.model.condition

    def counted(image, camera):
        calls.append(image)
        return prepare(image, camera)

    monkeypatch.setattr(term.model, "condition", counted)
    for target in (*CAMERAS, *CAMERAS):
        assert [c.camera for c in term.conditions(target)] == [target]
    assert len(calls) == 3
    assert all(torch.equal(a, b) for a, b in zip(calls, term.images, strict=True))
    fixed = make(SjcConfig(condition="fixed", condition_view=1))
    assert [c.camera for c in fixed.conditions(CAMERAS[2])] == [CAMERAS[1]]


def test_several_conditions_are_averaged(monkeypatch):
    """The mean of the fields, at the same noise."""
    rgb = torch.rand(8, 8, 3)
    prepare = GaussianMixture.predict_noise

    def by_view(self, noisy, t, condition, targets, guidance=1.0):
        shift = [c.position[0] for c in CAMERAS].index(condition.camera.position[0])
        return prepare(self, noisy, t, condition, targets, guidance) + shift

    monkeypatch.setattr(GaussianMixture, "predict_noise", by_view)
    one, all_three = (
        make(SjcConfig(conditions=n))(rgb, CAMERAS[0], 0.0, torch.Generator().manual_seed(8))
        for n in (1, 3)
    )
    abar = LEVELS.abar(one.t)
    moved = (1.0 - abar).sqrt() / abar.sqrt()  # of the clean view by one more unit of noise
    assert torch.allclose(one.denoised - all_three.denoised, moved.expand(1, 3, 8, 8), rtol=1e-3)


def test_levels_follow_the_schedule():
    config = SjcConfig(noise_min=0.6, noise_max=0.9, noise_min_end=0.1, noise_max_end=0.3)
    generator = torch.Generator().manual_seed(7)
    for progress, low, high in ((0.0, 0.6, 0.9), (0.5, 0.35, 0.6), (1.0, 0.1, 0.3)):
        drawn = torch.cat([draw_level(config, LEVELS, progress, generator) for _ in range(500)])
        assert drawn.min() >= low * 999 - 1 and drawn.max() <= high * 999 + 1
        assert drawn.float().std() > 0.2 * (high - low) * 999


def test_views_that_are_not_square_keep_their_aspect_and_rays():
    camera = multiview_cameras(1, 2.5, 0.6, (8, 4))[0]
    image = torch.zeros(3, 4, 8, requires_grad=True)
    square, wider = square_view(image, camera, 8)
    assert square.shape == (3, 8, 8)
    assert bool((square[:, :2] == 1.0).all()) and bool((square[:, 2:6] == 0.0).all())
    square.sum().backward()
    assert bool((image.grad == 1.0).all())
    inner, outer = camera_rays(camera).directions, camera_rays(wider).directions
    assert torch.allclose(outer[:, 2:6], inner, atol=1e-6)
