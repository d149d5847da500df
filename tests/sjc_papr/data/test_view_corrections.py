"""Corrections of training views: what they do, that they find what is wrong, exact resuming."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from taken_up import assert_same_when_taken_up
from tiny_scene import cameras, small_model, sphere_views

from blender_render.dataset.readers import Views
from sjc_papr.data.view_corrections import (
    COLOURS,
    POSES,
    CorrectionsConfig,
    ViewCorrections,
    corrections_of,
)
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import RayBundle, camera_rays
from sjc_papr.networks.renderer import render
from sjc_papr.training.config import OptimizeConfig, PatchConfig, RateConfig
from sjc_papr.training.lr_schedule import LRSchedule, Phase, single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer
from training_core.config import InputError

BOTH = CorrectionsConfig(colours=1e-2, poses=1e-3)


def turned(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, for vectors [..., 3] and axis times angle [3]."""
    angle = np.linalg.norm(axis)
    k = axis / angle
    along = (vectors @ k)[..., None] * k
    return (
        vectors * np.cos(angle) + np.cross(k, vectors) * np.sin(angle) + along * (1 - np.cos(angle))
    )


def rays_of(*views: int) -> RayBundle:
    rig = cameras(5)
    return replace(RayBundle.stack([camera_rays(rig[view]) for view in views]), views=views)


def filled(config: CorrectionsConfig, count: int = 3) -> ViewCorrections:
    corrections = ViewCorrections(count, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for own in corrections.parameters():
            own.copy_(0.1 * torch.randn(own.shape, generator=generator))
    return corrections


def test_rays_turn_about_their_camera_and_move_with_it() -> None:
    corrections, rays = filled(BOTH), rays_of(2, 0, 4)
    moved = corrections.moved(rays)
    for row, view in enumerate((2, 0)):
        axis, shift = (
            (own - own.mean(0))[view].detach().numpy()
            for own in (corrections.turn, corrections.shift)
        )
        for name in ("directions", "forward"):
            ours, before = (getattr(each, name)[row] for each in (moved, rays))
            expected = turned(before.numpy(), axis)
            np.testing.assert_allclose(ours.detach().numpy(), expected, atol=1e-5)
        expected = rays.origins[row].numpy() + shift
        np.testing.assert_allclose(moved.origins[row].detach().numpy(), expected, atol=1e-6)
    # View 4 has none: it is a pseudo-view.
    assert torch.allclose(moved.directions[2], rays.directions[2])
    assert torch.equal(moved.origins[2], rays.origins[2])
    assert filled(CorrectionsConfig(colours=1.0)).moved(rays) is rays


def test_colours_change_on_the_object_alone() -> None:
    corrections, rays = filled(BOTH), rays_of(1, 4)
    output = render(small_model(), rays, background=torch.tensor([0.2, 0.5, 0.8]))
    background = torch.tensor([0.2, 0.5, 0.8])
    rgb = corrections.recoloured(output, rays, background)
    gain, offset = (
        (own - own.mean(0))[1].detach() for own in (corrections.gain, corrections.offset)
    )
    for row, column in ((0, 0), (8, 10), (12, 7)):
        alpha = output.alpha[0, row, column]
        painted = output.rgb[0, row, column] - background * (1 - alpha)
        expected = painted * gain.exp() + offset * alpha + background * (1 - alpha)
        assert torch.allclose(rgb[0, row, column], expected, atol=1e-6)
    assert torch.allclose(rgb[1], output.rgb[1], atol=1e-6)
    assert filled(CorrectionsConfig(poses=1.0)).recoloured(output, rays, 1.0) is output.rgb


def test_all_views_together_are_not_moved() -> None:
    corrections, rays = ViewCorrections(3, BOTH), rays_of(0, 1, 2)
    with torch.no_grad():
        for own in corrections.parameters():
            own += torch.tensor([0.3, -0.2, 0.1])
    moved = corrections.moved(rays)
    assert torch.allclose(moved.directions, rays.directions, atol=1e-6)
    assert torch.allclose(moved.origins, rays.origins, atol=1e-6)


def make_trainer(
    model: Papr, views: Views, folder: Path, config: CorrectionsConfig, rates: LRSchedule
) -> Trainer:
    optimize = OptimizeConfig(steps=300, patches=PatchConfig(size=14))
    return Trainer(
        model,
        PatchSampler(views, 1.0, optimize.patches, seed=0),
        optimize,
        rates,
        background=1.0,
        precision="float32",
        seed=0,
        fault_folder=folder,
        corrections=corrections_of(config, len(views)),
    )


def test_what_is_wrong_with_a_view_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    views, model = sphere_views(6), small_model(300)
    nothing = CorrectionsConfig()
    trainer = make_trainer(model, views, tmp_path, nothing, single_stage(RateConfig(), 300))
    assert trainer.corrections is None
    for step in range(300):
        trainer.step(step)
    # The third picture was taken by a camera that had been turned, and is darker.
    camera = views.cameras[2]
    axis = np.array([0.07, -0.05, 0.08])
    pose = camera.cam_to_world.copy()
    pose[:3, :3] = turned(pose[:3, :3].T, -axis).T
    wrong = (*views.cameras[:2], replace(camera, cam_to_world=pose), *views.cameras[3:])
    images = views.images.clone()
    images[2, ..., :3] *= 0.8
    spoiled = Views(images, wrong, None, views.names)
    config = CorrectionsConfig(colours=5e-3, poses=2e-3)
    alone = LRSchedule([Phase(300, config.rates(), 0, 0.1)])
    trainer = make_trainer(model, spoiled, tmp_path, config, alone)
    assert trainer.corrections is not None
    losses = [trainer.step(step)["loss/mse"].item() for step in range(300)]
    assert sum(losses[-60:]) < 0.85 * sum(losses[:60])
    found = trainer.corrections.turn.detach()
    found = (found - found.mean(0)).numpy()
    # Of the others nothing is to be corrected; about the optical axis a sphere says little.
    across = np.linalg.norm(np.cross(found[2] - axis, camera.forward))
    assert across < 0.6 * np.linalg.norm(np.cross(axis, camera.forward))
    gain = trainer.corrections.gain.detach()
    assert float((gain - gain.mean(0))[2].mean()) < -0.05


def test_a_run_with_corrections_resumes_bit_for_bit(tmp_path: Path) -> None:
    views, rates = sphere_views(6), single_stage(RateConfig(), 300, BOTH.rates())

    def trainer() -> Trainer:
        torch.manual_seed(3)
        return make_trainer(small_model(), views, tmp_path, BOTH, rates)

    tensors = assert_same_when_taken_up(trainer, tmp_path)
    assert tensors["corrections.turn"].abs().max() > 0


def test_corrections_do_not_begin_in_a_run_that_had_none() -> None:
    with pytest.raises(InputError, match=r"without corrections .* corrections\.poses=0"):
        ViewCorrections(6, BOTH).restore({})


@pytest.mark.parametrize(
    ("config", "groups"),
    [
        (CorrectionsConfig(), set()),
        (CorrectionsConfig(colours=1e-2), {COLOURS}),
        (CorrectionsConfig(poses=1e-3), {POSES}),
    ],
)
def test_only_what_is_asked_for_is_corrected(
    tmp_path: Path, config: CorrectionsConfig, groups: set[str]
) -> None:
    rates = single_stage(RateConfig(), 300, config.rates())
    trainer = make_trainer(small_model(), sphere_views(6), tmp_path, config, rates)
    names = {str(group["name"]) for group in trainer.optimizer.param_groups}
    assert names & {COLOURS, POSES} == groups
    assert bool(trainer.corrections) == bool(groups)
