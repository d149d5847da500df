"""Zero123 in float16, and a step of Score Jacobian Chaining with it, on the GPU."""

import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
from tiny_novel import make_trainer, novel_config
from tiny_zero123 import SIDE, tiny_networks

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera, look_at, spherical
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.score_models.zero123.camera import HALF_TAN
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.score_model import Zero123


def on(device: torch.device, dtype: str) -> Zero123:
    """Tiny random networks there, as the loader puts published ones."""
    config, networks = Zero123Config(dtype=dtype), tiny_networks()
    for part in networks.parts():
        vae = part is networks.vae
        part.to(device, config.picture_dtype() if vae else config.compute_dtype(device))
    return Zero123(networks, config, 1.0)


def camera(azimuth: float) -> Camera:
    pose = look_at(spherical(azimuth, 10.0, 1.9))
    return Camera.from_angle_x(pose, SIDE, SIDE, 2.0 * math.atan(HALF_TAN))


def predict(score: Zero123, device: torch.device) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(3, SIDE, SIDE, generator=generator)
    noisy = torch.randn(2, 4, SIDE // 2, SIDE // 2, generator=generator)
    condition = score.condition(image.to(device), camera(0.0))
    targets = [camera(40.0), camera(150.0)]
    with torch.no_grad():
        predicted = score.predict_noise(
            noisy.to(device), torch.tensor([20, 700]), condition, targets, 3.0
        )
    return predicted.float().cpu()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_noise_is_that_of_the_cpu(device: torch.device, dtype: str) -> None:
    cpu = torch.device("cpu")
    expected = predict(on(cpu, "float32"), cpu)
    found = predict(on(device, dtype), device)
    scale = expected.abs().max()
    allowed = 1e-3 if dtype == "float32" else 3e-2
    assert (found - expected).abs().max() <= allowed * scale


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_step_of_sjc(views: Views, tmp_path: Path, device: torch.device, dtype: str) -> None:
    trainer = make_trainer(views, tmp_path, None, device=device)
    novel = NovelViews(
        trainer.model,
        novel_config("sjc"),
        views,
        on(device, dtype),
        background=1.0,
        precision="float32",
        steps=trainer.steps,
        seed=0,
    )
    trainer.auxiliary = novel
    before = trainer.model.points.features.detach().clone()
    logged = trainer.step(0, measure=True)
    assert logged["loss/sjc"].isfinite() and logged["gradient_norm"] > 0.0
    assert not torch.equal(before, trainer.model.points.features)
