"""Which views Zero123 judges, and how renders become such views."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_zero123 import SIDE, tiny_networks
from zero123_steps import LATENT, UNIT, Step, camera, model

from blender_render.geometry.cameras import Camera, look_at, spherical
from sjc_papr.score_models.base import Condition
from sjc_papr.score_models.zero123.camera import HALF_TAN
from sjc_papr.score_models.zero123.loading import Zero123Networks
from training_core.config import ConfigError


@pytest.fixture(scope="module")
def networks() -> Zero123Networks:
    return tiny_networks()


def test_condition_is_brought_to_zero123_s_field_of_view(networks: Zero123Networks) -> None:
    """An image of a narrower lens is padded with white."""
    score = model(networks)
    image = torch.rand(3, 24, 24)
    pose = look_at(spherical(0.0, 20.0, 2.0 * UNIT))
    narrow = Camera.from_angle_x(pose, 24, 24, 2.0 * math.atan(HALF_TAN * 0.75))
    padded = F.pad(image, (4, 4, 4, 4), value=1.0)
    ours = score.condition(image, narrow)
    direct = score.condition(padded, camera(0.0, 20.0, 2.0))
    assert ours.camera is narrow
    for name in ("picture", "latent", "embedding"):
        torch.testing.assert_close(ours.tensors[name], direct.tensors[name], atol=1e-4, rtol=1e-3)


def test_views_it_cannot_judge_are_refused(networks: Zero123Networks) -> None:
    score = model(networks)
    step = Step(score)
    near = Camera.from_angle_x(step.targets[0].cam_to_world, 64, 64, math.radians(39.6))
    with pytest.raises(ConfigError, match=r"49\.13 degrees"):
        score.predict_noise(step.noisy[:1], step.t[:1], step.condition, [near])
    noise = score.predict_noise(
        step.noisy[:1], step.t[:1], step.condition, [score.target_camera(near)]
    )
    torch.testing.assert_close(noise, step.predict(score)[:1], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"\[B, 3, 32, 32\]"):
        score.encode(torch.rand(1, 3, 16, 16))


def test_renders_of_any_lens_become_views_it_can_judge(networks: Zero123Networks) -> None:
    """Through ``view``, a wide render gives what its middle gives, gradient included."""
    score = model(networks)
    step = Step(score)
    pose = step.targets[0].cam_to_world
    focal = 0.5 * SIDE / HALF_TAN
    wide = Camera(pose, SIDE + 16, SIDE + 8, focal, focal, SIDE / 2 + 8, SIDE / 2 + 4)
    render = torch.rand(3, SIDE + 8, SIDE + 16, requires_grad=True)
    seen, at = score.view(render, wide)
    middle = render[:, 4 : SIDE + 4, 8 : SIDE + 8]
    torch.testing.assert_close(seen, middle, atol=1e-5, rtol=0)
    noise = score.predict_noise(step.noisy[:1], step.t[:1], step.condition, [at])
    torch.testing.assert_close(noise, step.predict(score)[:1], atol=1e-5, rtol=1e-4)
    weights = torch.randn(1, *LATENT)
    gradients = [
        torch.autograd.grad((score.encode(image[None]) * weights).sum(), render)[0]
        for image in (seen, middle)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)


def test_distances_outside_its_training_are_said_once(
    networks: Zero123Networks, caplog: pytest.LogCaptureFixture
) -> None:
    score = model(networks)
    far = camera(0.0, 20.0, 3.0)
    made: list[Condition] = [score.condition(torch.rand(3, 8, 8), far) for _ in range(2)]
    assert made[0].tensors["latent"].shape == LATENT
    assert caplog.text.count("3.00 object lengths") == 1
    clamped = model(networks, radius="clamp")
    vector = clamped.cameras.vectors(far, [camera(0.0, 20.0, 1.9)])
    assert vector[0, 3].item() == pytest.approx(1.9 - 2.2, abs=1e-6)
