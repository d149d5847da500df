"""The visual hull on views without a picture, points hidden from a step, and holes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from six_spheres import six_views
from tiny_novel import make_trainer, novel_config
from tiny_scene import RADIUS, cameras, one_view, small_model

from sjc_papr.evaluation.view_metrics import hole_share
from sjc_papr.networks.point_cloud import keep_points
from sjc_papr.networks.renderer import render
from sjc_papr.novel_view.geometry_config import SilhouetteConfig
from sjc_papr.novel_view.silhouette import HullGrid, silhouette_losses
from sjc_papr.training.config import DensityConfig, OptimizeConfig
from sjc_papr.training.densification import change_density
from sjc_papr.training.patch_sampler import background_of, points_of
from sjc_papr.training.trainer import Trainer
from training_core.config import ConfigError


def grid(resolution: int = 48) -> HullGrid:
    views = six_views(side=48)
    return HullGrid(views.images[..., 3], views.cameras, resolution)


def test_chords_are_those_of_the_sphere_and_a_little_more() -> None:
    hull = grid()
    for camera in cameras(3, (32, 32)):
        chords = hull.chords(camera)
        eye = camera.position
        for row, column in ((16, 16), (10, 20), (0, 0)):
            x, y = (column + 0.5 - camera.cx) / camera.fl_x, (camera.cy - row - 0.5) / camera.fl_y
            ray = camera.cam_to_world[:3, :3] @ np.array([x, y, -1.0])
            a, b = ray @ ray, ray @ eye
            inside = b**2 - a * (eye @ eye - RADIUS**2)
            true = 2.0 * np.sqrt(max(inside, 0.0)) / a
            assert true - 0.02 <= float(chords[row, column]) <= true + 0.35
        assert float(chords[0, 0]) == 0.0


def test_no_cell_with_matter_is_missing() -> None:
    hull = grid()
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    points = RADIUS * 0.98 * points / points.norm(dim=1, keepdim=True)
    assert bool(hull.holds(points).all())
    assert not hull.holds(torch.tensor([[0.9, 0.0, 0.0], [0.55, 0.55, 0.55]])).any()


def test_losses_by_hand() -> None:
    alpha = torch.tensor([[0.5, 0.2, 0.9, 0.4]], requires_grad=True)
    chords = torch.tensor([[0.0, 0.1, 0.3, 0.3]])
    outside, core = silhouette_losses(alpha, chords, 0.15)
    assert float(outside.detach()) == pytest.approx(0.25 / 4)
    assert float(core.detach()) == pytest.approx((0.01 + 0.36) / 4)
    (gradient,) = torch.autograd.grad(outside + core, alpha)
    assert torch.allclose(gradient, torch.tensor([[0.25, 0.0, -0.05, -0.3]]))


@pytest.mark.parametrize("term", ["outside", "core"])
def test_each_switch_is_a_term_of_its_own(tmp_path: Path, term: str) -> None:
    config = novel_config()
    assert not config.on
    config.silhouette = replace(SilhouetteConfig(resolution=24), **{term: 1.0})
    assert config.on
    trainer = make_trainer(six_views(), tmp_path, config)
    logged = trainer.step(0, measure=True)
    other = "core" if term == "outside" else "outside"
    assert f"loss/{term}" in logged and f"loss/{other}" not in logged
    assert float(logged[f"parameter_gradient/{term}/positions"]) >= 0.0


def test_its_gradient_takes_alpha_away_outside_the_hull(tmp_path: Path) -> None:
    config = novel_config()
    config.silhouette = SilhouetteConfig(outside=50.0, resolution=24)
    trainer = make_trainer(six_views((0.0, 0.0, -0.2)), tmp_path, config)
    novel, influence = trainer.auxiliary, trainer.model.points.influence
    assert novel is not None
    before = float(novel.backward(0, measure=False).logged["loss/outside"])
    assert before > 0.0 and influence.grad is not None
    with torch.no_grad():
        influence -= 0.1 * influence.grad / influence.grad.norm()
    assert float(novel.backward(0, measure=False).logged["loss/outside"]) < before


def test_hidden_points_might_as_well_not_be_there() -> None:
    model, rays = small_model(), one_view()
    among = torch.randperm(150, generator=torch.Generator().manual_seed(0))[:70]
    hidden = render(model, rays, among=among)
    keep_points(model.points, among)
    alone = render(model, rays)
    assert torch.allclose(hidden.rgb, alone.rgb, atol=1e-6)
    assert torch.equal(hidden.indices, among[alone.indices])


def hidden_from(trainer: Trainer, step: int) -> torch.Tensor | None:
    """Numbers of the points that a step sees."""
    count, least = len(trainer.model.points), trainer.model.config.neighbours
    return points_of(trainer.config, trainer.seed, step, count, least, torch.device("cpu"))


def behind(trainer: Trainer, step: int) -> torch.Tensor | None:
    """The colour behind the object in a step."""
    return background_of(trainer.config, trainer.seed, step, torch.device("cpu"))


def test_steps_hide_other_points_and_learn_nothing_of_them(tmp_path: Path) -> None:
    trainer = make_trainer(six_views(), tmp_path, None, drop_points=0.5)
    first, second = (hidden_from(trainer, step) for step in range(2))
    assert first is not None and second is not None
    assert len(first) == 30 and not torch.equal(first, second)
    again = hidden_from(trainer, 0)
    assert again is not None and torch.equal(first, again)
    before = trainer.model.points.positions.detach().clone()
    trainer.step(0)
    moved = (trainer.model.points.positions.detach() != before).any(1)
    assert moved.any() and set(moved.nonzero()[:, 0].tolist()) <= set(first.tolist())
    with pytest.raises(ValueError, match="drop_points"):
        OptimizeConfig(drop_points=1.0).validate()


def test_holes_are_counted_where_the_object_is_whole() -> None:
    truth = torch.tensor([[1.0, 1.0, 1.0, 0.5, 0.0]])
    alpha = torch.tensor([[0.9, 0.4, 0.6, 0.0, 0.0]])
    assert hole_share(alpha, truth) == pytest.approx(1 / 3)
    assert hole_share(alpha, truth * 0.5) is None


def test_points_outside_the_hull_are_dropped_once(tmp_path: Path) -> None:
    density = DensityConfig(hull_events=1, prune_from=0.2)
    with pytest.raises(ConfigError, match="hull_events"):
        make_trainer(six_views(), tmp_path, None, density=density)
    model, hull = small_model(60), grid()
    with torch.no_grad():
        model.points.positions[:5] = 0.59
    optimizer = torch.optim.Adam(model.points.parameters())
    for step, left in ((1, 60), (2, 55), (3, 55)):
        change_density(model.points, optimizer, step, 10, density, 0, hull.holds)
        assert len(model.points) == left


def test_a_varied_background_is_behind_picture_and_render_alike(tmp_path: Path) -> None:
    views = six_views()
    trainer = make_trainer(views, tmp_path, None, vary_background=1.0)
    colour, other = (behind(trainer, step) for step in range(2))
    assert colour is not None and other is not None and not torch.equal(colour, other)
    plain, varied = (next(trainer.sampler.sample(0, c)) for c in (None, colour))
    assert torch.equal(plain[0].directions, varied[0].directions)
    expected = torch.cat([views.composite(c.tolist()).flatten(0, 2) for c in (colour, other)])
    found = varied[1].flatten(0, 2)
    assert all((row == expected).all(1).any() for row in found)
    # A cloud whose every point is switched off shows the background, and that is then no error
    # where the picture shows it too.
    with torch.no_grad():
        trainer.model.points.influence.fill_(-1e3)
    output = render(trainer.model, varied[0], background=colour)
    assert torch.allclose(output.rgb, colour.expand_as(output.rgb), atol=1e-3)
    assert float(trainer.step(0)["loss/total"]) >= 0.0
    half = make_trainer(views, tmp_path, None, vary_background=0.5)
    assert 20 < sum(behind(half, step) is None for step in range(80)) < 60
