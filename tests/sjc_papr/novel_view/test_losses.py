"""Losses on views without images: the gradients that arrive, and what is logged of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gaussian_mixture import GaussianMixture
from tiny_novel import (
    MODES,
    STEPS,
    TERMS,
    make_novel,
    make_trainer,
    mode_name,
    novel_config,
    with_near,
)
from tiny_scene import small_model
from torch import Tensor

from blender_render.dataset.readers import Views, composite
from blender_render.imaging.resize import resize_rgba
from sjc_papr.config import TrainConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.novel_view.depth_smoothing import depth_smoothing
from sjc_papr.novel_view.images import NovelViewImages
from sjc_papr.novel_view.near_view import (
    RenderedView,
    ground_truth_loss,
    near_camera,
    near_view_loss,
)
from sjc_papr.novel_view.target_cameras import nearest_views
from sjc_papr.training.lr_schedule import GROUPS
from training_core.metrics_log import MetricsLog
from training_core.run_folder import RunFolder


def gradients(model: Papr) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def plain_loss(
    model: Papr, config: NovelConfig, views: Views, step: int, background: float
) -> dict[str, Tensor]:
    """The slow obvious twin: everything rendered in one graph, nothing detached by hand."""
    helper = make_novel(model, config, views, background)
    generator = torch.Generator().manual_seed(step)
    progress = step / STEPS
    losses: dict[str, Tensor] = {}

    def show(camera: Any) -> RenderedView:
        output = render(model, camera_rays(camera), background=background)
        return RenderedView(camera, output.rgb[0], output.depth[0], output.alpha[0])

    camera = helper._target(progress, generator)
    base = show(camera)
    if config.sjc.weight:
        assert helper.sjc is not None
        white = render(model, camera_rays(camera), background=1.0).rgb[0]
        losses["sjc"] = helper.sjc(white, camera, progress, generator).loss
    if config.smooth.weight:
        losses["smooth"] = depth_smoothing(
            base.depth[None], base.alpha[None], base.rgb[None], config.smooth, 1.0
        )
    if config.near.weight and config.near.mode == "eq1_gt":
        losses["near"] = torch.zeros(())
        for index in nearest_views(views.cameras, camera, config.near.neighbours):
            beside = views.cameras[index].resized(16, 13)
            image = composite(resize_rgba(views.images[index], 16, 13), background)
            seen = show(beside)
            # Without depth images; with them the nearest pixels are compared.
            losses["near"] = (
                losses["near"] + ground_truth_loss(seen, image, None, config.near, 1.0).loss
            )
    elif config.near.weight:
        near = show(near_camera(camera, config.near, 1.0, generator))
        losses["near"] = near_view_loss(base, near, config.near, 1.0).loss
    return losses


@pytest.mark.parametrize("background", [1.0, 0.2])
@pytest.mark.parametrize("mode", MODES, ids=mode_name)
@pytest.mark.parametrize("step", [0, 4])
def test_gradients_are_those_of_the_weighted_sum(
    views: Views, mode: dict[str, Any], background: float, step: int
) -> None:
    flat = replace(views, depth=None)
    config, model = with_near(novel_config(*TERMS), mode), small_model(60)
    losses = plain_loss(model, config, flat, step, background)
    weights = {name: getattr(config, name).weight for name in TERMS}
    parts = []
    for name, loss in losses.items():
        (weights[name] * loss).backward(retain_graph=True)
        parts.append(gradients(model))
        model.zero_grad(set_to_none=True)
    sum(weights[name] * loss for name, loss in losses.items()).backward()
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    logged = make_novel(model, config, flat, background).backward(step, measure=False).logged
    for name, gradient in gradients(model).items():
        assert expected[name].any(), name
        # Terms may cancel: the sum is as exact as its largest part.
        scale = max(part[name].abs().max().item() for part in parts if name in part)
        assert torch.allclose(gradient, expected[name], rtol=1e-3, atol=1e-4 * scale), name
    for name in TERMS:
        assert losses[name].item() > 0.0
        assert logged[f"loss/{name}"].item() == pytest.approx(losses[name].item(), rel=1e-4)
        weighted = weights[name] * losses[name].item()
        assert logged[f"weighted/{name}"].item() == pytest.approx(weighted, rel=1e-4)


@pytest.mark.parametrize("mode", MODES, ids=mode_name)
@pytest.mark.parametrize("term", TERMS)
def test_gradient_norms_in_the_log_are_each_terms_own(
    views: Views, term: str, mode: dict[str, Any]
) -> None:
    """With all terms on, each is logged as if it stood alone, over all views it looks at."""
    views = replace(views, depth=None)
    model, config = small_model(60), with_near(novel_config(*TERMS), mode)
    together = make_novel(model, config, views).backward(0, measure=True).logged
    model.zero_grad(set_to_none=True)
    losses = plain_loss(model, config, views, 0, 1.0)
    (getattr(config, term).weight * losses[term]).backward()
    for group, parameters in model.groups().items():
        norms = [torch.zeros(()) if p.grad is None else p.grad.norm() for p in parameters]
        expected = torch.stack(norms).norm().item()
        found = together[f"parameter_gradient/{term}/{group}"].item()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-9), group
    assert together[f"parameter_gradient/{term}/positions"] > 0.0
    assert together[f"picture_gradient/{term}"] > 0.0


def test_what_is_logged(views: Views, tmp_path: Path) -> None:
    trainer = make_trainer(views, tmp_path, novel_config(*TERMS))
    brief, full = trainer.step(0), trainer.step(1, measure=True)
    everywhere = {f"{kind}/{t}" for t in TERMS for kind in ("loss", "weighted", "picture_gradient")}
    everywhere |= {"picture_gradient/photometric", "sjc/residual", "sjc/level", "sjc/weight"}
    assert everywhere <= brief.keys()
    assert not any(name.startswith("parameter_gradient") for name in brief)
    everything = (*TERMS, "photometric")
    by_group = {f"parameter_gradient/{term}/{group}" for term in everything for group in GROUPS}
    assert full.keys() == brief.keys() | by_group
    assert all(value.isfinite() and not value.requires_grad for value in full.values())
    assert trainer.images.keys() >= {"render", "denoised", "depth", "near", "near_warped"}


def test_the_photometric_norms_are_its_own(views: Views, tmp_path: Path) -> None:
    alone = make_trainer(views, tmp_path, None).step(0)
    beside = make_trainer(views, tmp_path, novel_config(*TERMS)).step(0, measure=True)
    for group in GROUPS:
        assert beside[f"parameter_gradient/photometric/{group}"] == alone[f"gradient_norm/{group}"]


def test_the_denoised_view_is_decoded_only_to_be_shown(
    views: Views, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = make_trainer(views, tmp_path, novel_config("sjc"))
    decoded, decode = [], GaussianMixture.decode
    monkeypatch.setattr(
        GaussianMixture, "decode", lambda self, x: (decoded.append(x), decode(self, x))[1]
    )
    trainer.step(0, measure=True)
    assert not decoded
    with MetricsLog(RunFolder.open(tmp_path, "sjc_papr", "run", TrainConfig()), 0) as log:
        NovelViewImages(trainer, trainer.auxiliary)(log, 1)
    assert len(decoded) == 1


def test_neighbours_are_logged_together(views: Views) -> None:
    model, config = small_model(60), with_near(novel_config("near"), MODES[3])
    alone = []
    for count in (1, 2, 3):
        config.near.neighbours = count
        alone.append(make_novel(model, config, views).backward(0, measure=False).logged)
    values = [logged["loss/near"].item() for logged in alone]
    norms = [logged["picture_gradient/near"].item() for logged in alone]
    assert values == sorted(values) and values[2] > 1.5 * values[0]
    assert norms == sorted(norms) and norms[2] > norms[0]


def test_the_score_model_sees_the_object_on_white(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(60)
    novel = make_novel(model, novel_config("sjc"), views, background=0.25)
    assert novel.sjc is not None
    seen: list[tuple[Tensor, Any]] = []
    sjc = novel.sjc
    monkeypatch.setattr(
        novel, "sjc", lambda rgb, *rest: (seen.append((rgb, rest[0])), sjc(rgb, *rest))[1]
    )
    novel.sjc.model = sjc.model
    novel.backward(0, measure=False)
    (rgb, camera), *_ = seen
    white = render(model, camera_rays(camera), background=1.0).rgb[0]
    grey = render(model, camera_rays(camera), background=0.25).rgb[0]
    assert torch.allclose(rgb, white, atol=1e-5)
    assert not torch.allclose(rgb, grey, atol=0.05)
    assert torch.equal(sjc.images[:, :, 0, 0], torch.ones(10, 3)), "and its conditions too"
