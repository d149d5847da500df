"""Zero123 as a score model, with tiny random networks."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("diffusers")
from tiny_zero123 import LAYOUTS, SIDE, tiny_networks, write
from zero123_steps import LATENT, UNIT, Calls, Step, camera, model

from sjc_papr.score_models.base import ScoreModel
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.loading import Zero123Networks
from sjc_papr.score_models.zero123.score_model import Zero123
from training_core.config import ConfigError, load_config

SCALE = 0.18215


@pytest.fixture(scope="module")
def networks() -> Zero123Networks:
    return tiny_networks()


@torch.no_grad()
def plain_noise(networks: Zero123Networks, step: Step, *, conditional: bool) -> Tensor:
    """One target after the other, straight from the description."""
    moments = networks.vae.encode(step.image[None] * 2.0 - 1.0).latent_dist
    latent = moments.mode() if conditional else torch.zeros(1, *LATENT)
    size = networks.vision.config.image_size
    resized = F.interpolate(
        step.image[None] * 2.0 - 1.0, (size, size), mode="bicubic", align_corners=True
    )
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    embeds = networks.vision(((resized + 1.0) / 2.0 - mean) / deviation).image_embeds
    # Elevation 20, azimuth 0, radius 2 to each target, by hand.
    pairs = ((10.0, 40.0, 1.9), (-20.0, 150.0, 1.9), (60.0, -90.0, 1.6))
    noises = []
    for i, (elevation, azimuth, radius) in enumerate(pairs):
        turn = math.radians(azimuth)
        vector = [math.radians(20.0 - elevation), math.sin(turn), math.cos(turn), radius - 2.0]
        token = networks.projection(torch.cat([embeds, torch.tensor([vector])], 1))
        token = token if conditional else torch.zeros_like(token)
        both = torch.cat([step.noisy[i : i + 1], latent], 1)
        noises.append(networks.unet(both, int(step.t[i]), token[:, None]).sample)
    return torch.cat(noises)


def test_noise_is_what_the_description_says(networks: Zero123Networks) -> None:
    score = model(networks)
    step = Step(score)
    expected = plain_noise(networks, step, conditional=True)
    torch.testing.assert_close(step.predict(score), expected, atol=1e-5, rtol=1e-4)
    without = plain_noise(networks, step, conditional=False)
    assert (without - expected).abs().mean() > 1e-2  # so the condition matters here
    torch.testing.assert_close(step.predict(score, 0.0), without, atol=1e-5, rtol=1e-4)
    guided = without + 3.0 * (expected - without)
    torch.testing.assert_close(step.predict(score, 3.0), guided, atol=1e-4, rtol=1e-4)


def test_it_fulfils_the_contract(networks: Zero123Networks) -> None:
    score: ScoreModel = model(networks)
    assert score.picture_size == SIDE and score.object_length == UNIT
    assert len(score.levels) == 1000
    assert float(score.levels.sigma(torch.tensor([999]))) == pytest.approx(14.61, abs=0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_predicts_the_same(
    layout: str, networks: Zero123Networks, tmp_path: Path
) -> None:
    path = write(networks, layout, tmp_path / "weights")
    yaml_file = tmp_path / "weights" / "zero123.yaml"
    own = str(yaml_file) if yaml_file.exists() else ""
    loaded = Zero123.load(Zero123Config(path=str(path), original_config=own), UNIT)
    here = model(networks)
    step = Step(here)
    there = Step(loaded)
    assert torch.equal(there.predict(loaded, 3.0), step.predict(here, 3.0))
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(loaded.encode(images), here.encode(images))


def test_condition_is_not_scaled_and_renders_are(networks: Zero123Networks) -> None:
    score = model(networks)
    step = Step(score)
    moments = networks.vae.encode(step.image[None] * 2.0 - 1.0).latent_dist
    latent = step.condition.tensors["latent"]
    torch.testing.assert_close(latent, moments.mean[0], atol=1e-6, rtol=1e-5)
    encoded = score.encode(step.image[None])[0]
    torch.testing.assert_close(encoded, SCALE * latent, atol=1e-6, rtol=1e-5)
    assert encoded.shape == LATENT


def test_guidance_one_costs_one_pass(
    networks: Zero123Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = model(networks)
    step = Step(score)
    encodings = []
    monkeypatch.setattr(networks.vae, "encode", encodings.append)
    monkeypatch.setattr(networks.vision, "forward", encodings.append)
    for guidance, inputs in ((1.0, 3), (0.0, 3), (2.0, 6)):
        calls = Calls(networks.unet, monkeypatch)
        step.predict(score, guidance)
        assert sum(calls.sizes) == inputs
        monkeypatch.undo()
        monkeypatch.setattr(networks.vae, "encode", encodings.append)
        monkeypatch.setattr(networks.vision, "forward", encodings.append)
    assert not encodings  # the condition's image was encoded once, before


def test_unconditional_forms(networks: Zero123Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step(model(networks))
    zero, projected = (
        step.predict(model(networks, unconditional=form), 0.0)
        for form in ("zero_token", "proj_zero")
    )
    assert (zero - projected).abs().max() > 1e-3
    calls = Calls(networks.unet, monkeypatch)
    step.predict(model(networks, unconditional="proj_zero"), 2.0)
    score = model(networks)
    vectors = score.cameras.vectors(step.condition.camera, step.targets)
    no_picture = torch.cat([torch.zeros(3, 16), vectors], 1)
    expected = networks.projection(no_picture)[:, None]
    torch.testing.assert_close(calls.tokens[0][3:], expected, atol=1e-6, rtol=1e-5)
    assert not calls.inputs[0][3:, 4:].any()  # no latents either
    assert torch.equal(calls.inputs[0][:3, :4], calls.inputs[0][3:, :4])
    step.predict(score, 2.0)
    assert not calls.tokens[1][3:].any()
    assert torch.equal(calls.tokens[1][:3], calls.tokens[0][:3])


def test_gradient_reaches_the_picture_and_nothing_else(networks: Zero123Networks) -> None:
    """Finite differences along random directions, against the gradient."""
    score = model(networks)
    images = torch.rand(1, 3, SIDE, SIDE, requires_grad=True)
    weights = torch.randn(1, *LATENT)

    def value(inputs: Tensor) -> Tensor:
        return (score.encode(inputs).double() * weights).sum()

    value(images).backward()
    gradient = images.grad
    assert gradient is not None
    step = 1e-2
    for _ in range(3):
        # Mostly along the gradient: random directions alone are nearly across it.
        direction = gradient / gradient.norm() + 0.02 * torch.randn_like(images)
        with torch.no_grad():
            ahead, behind = (value(images + sign * step * direction) for sign in (1.0, -1.0))
        slope = ((ahead - behind) / (2.0 * step)).item()
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=2e-3)
    assert all(p.grad is None for part in networks.parts() for p in part.parameters())


def test_noise_carries_no_gradient(networks: Zero123Networks) -> None:
    score = model(networks)
    step = Step(score)
    step.noisy.requires_grad_(True)
    assert not step.predict(score, 2.0).requires_grad
    assert not any(tensor.requires_grad for tensor in step.condition.tensors.values())


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_chunks_change_nothing(
    guidance: float, networks: Zero123Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step(model(networks))
    whole = step.predict(model(networks), guidance)
    calls = Calls(networks.unet, monkeypatch)
    parts = step.predict(model(networks, chunk=2), guidance)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
    assert max(calls.sizes) == 2


def test_vae_in_chunks_or_with_checkpoints_gives_the_same_gradient() -> None:
    images = torch.rand(3, 3, SIDE, SIDE)
    weights = torch.randn(3, *LATENT)

    def run(**values: Any) -> tuple[Tensor, Tensor, int]:
        score = model(tiny_networks(), **values)
        kept = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        inputs = images.clone().requires_grad_(True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoded = score.encode(inputs)
        (gradient,) = torch.autograd.grad((encoded * weights).sum(), inputs)
        return encoded, gradient, kept

    encoded, gradient, kept = run(vae_chunk=0)
    for values in ({"vae_chunk": 1}, {"vae_chunk": 2, "checkpoint_vae": True}):
        other, other_gradient, other_kept = run(**values)
        torch.testing.assert_close(other, encoded, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(other_gradient, gradient, atol=1e-4, rtol=1e-3)
        if values.get("checkpoint_vae"):
            assert other_kept < 0.5 * kept


def test_samples_lie_around_the_mode(networks: Zero123Networks) -> None:
    score = model(networks, latent="sample")
    image = torch.rand(1, 3, SIDE, SIDE)
    posterior = networks.vae.encode(image * 2.0 - 1.0).latent_dist
    draws = torch.stack([score.encode(image) for _ in range(200)])
    error = (draws.mean(0) - SCALE * posterior.mean).abs() / (SCALE * posterior.std)
    assert error.max() < 5.0 / math.sqrt(200)
    ratio = draws.std(0) / (SCALE * posterior.std)
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.02)


def test_decoding_is_to_look_at(networks: Zero123Networks) -> None:
    score = model(networks)
    latents = torch.randn(2, *LATENT) * SCALE
    images = score.decode(latents)
    assert images.shape == (2, 3, SIDE, SIDE)
    expected = networks.vae.decode(latents / SCALE).sample / 2.0 + 0.5
    torch.testing.assert_close(images, expected.clamp(0.0, 1.0), atol=1e-4, rtol=1e-3)
    assert not score.decode(latents.requires_grad_(True)).requires_grad


def test_the_run_s_autocast_is_not_its_own(networks: Zero123Networks) -> None:
    score = model(networks)
    step = Step(score)
    whole = step.predict(score, 2.0)
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(step.predict(score, 2.0), whole)
        inside = score.encode(images)
    assert torch.equal(inside, score.encode(images))


def test_half_precision_is_close() -> None:
    networks = tiny_networks()
    step = Step(model(networks))
    whole = step.predict(model(networks), 2.0)
    for part in (networks.unet, networks.vision, networks.projection):
        part.bfloat16()
    score = model(networks)
    half = step.predict(score, 2.0)
    assert half.dtype == torch.float32
    assert (half - whole).norm() < 0.05 * whole.norm()
    again = score.condition(step.image, camera(0.0, 20.0, 2.0))
    assert again.tensors["embedding"].dtype == torch.float32


def test_config_is_strict(tmp_path: Path) -> None:
    file = tmp_path / "zero123.yaml"
    file.write_text("path: models/zero123\nunconditional: proj_zero\nchunk: 2\n")
    config = load_config(Zero123Config, file, ["dtype=float16"])
    assert (config.unconditional, config.chunk, config.dtype) == ("proj_zero", 2, "float16")
    for wrong in ("chunk=-1", "unconditional=none", "vae_dtype=float16"):
        with pytest.raises(ConfigError, match=wrong.split("=")[0]):
            load_config(Zero123Config, None, [wrong])
