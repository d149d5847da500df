"""Gradients of attention: who gets one, and whether it is the right one."""

from dataclasses import replace

import pytest
import torch
from tiny_scene import one_view, small_config, small_model, sphere_points
from torch import Tensor

from sjc_papr.networks import attention
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import RayBundle, ray_point_geometry
from sjc_papr.networks.renderer import render

OFFSETS = ("relative", "centred", "official")


@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("proximity", [True, False])
def test_a_new_model_learns_everywhere(offsets: str, proximity: bool) -> None:
    """From the first step every group gets a gradient; the published form may start dead."""
    model = small_model(offsets=offsets, proximity=proximity, score_activation="softplus")
    output = render(model, one_view())
    (output.rgb - 0.3).square().mean().backward()
    named = dict(model.named_parameters())
    groups = {
        "positions": "points.positions",
        "influence": "points.influence",
        "features": "points.features",
        "key": "attention.key.layers.0.weight",
        "query": "attention.query.layers.0.weight",
        "value": "attention.value.layers.0.weight",
        "keys' projection": "attention.project_key.weight",
        "queries' projection": "attention.project_query.weight",
        "fuse": "attention.fuse.weight",
        "renderer": "unet.enter.weight",
    }
    for group, name in groups.items():
        gradient = named[name].grad
        assert gradient is not None and gradient.isfinite().all(), group
        assert gradient.abs().max() > 0.0, group


def test_gradients_reach_depth_from_points_and_from_weights() -> None:
    model = small_model()
    render(model, one_view()).depth.sum().backward()
    assert model.points.positions.grad is not None and model.points.influence.grad is not None
    assert model.points.positions.grad.abs().max() > 0.0
    assert model.points.influence.grad.abs().max() > 0.0


@pytest.mark.parametrize("view_dependent", [True, False])
def test_networks_see_the_direction_only_where_they_may(view_dependent: bool) -> None:
    """Other directions over the very same pairs of foot and offset."""
    torch.manual_seed(0)
    model, rays = small_model(view_dependent=view_dependent), one_view()
    indices = render(model, rays).indices
    points = model.points.positions[indices]
    geometry = ray_point_geometry(rays.origins, rays.directions, points)
    there, elsewhere = (
        model.attention(directions, points, geometry, model.points, indices)
        for directions in (rays.directions, rays.directions.roll(1, dims=-1))
    )
    same = [torch.equal(a, b) for a, b in zip(there, elsewhere, strict=True)]
    assert all(same) if not view_dependent else not any(same)
    there.features.sum().backward()
    assert model.points.positions.grad is not None
    assert model.points.positions.grad.abs().max() > 0.0


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks compute in double precision, so that small differences mean something."""
    monkeypatch.setattr(attention, "compute_dtype", lambda device: torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("proximity", [True, False])
@pytest.mark.parametrize("offsets", OFFSETS)
def test_position_gradient_equals_finite_differences(
    in_float64: None, offsets: str, proximity: bool
) -> None:
    config = small_config(
        offsets=offsets, proximity=proximity, normalise=False, background_score=1.0
    )
    # As many points as neighbours: the top-K sets cannot change under the difference.
    model = Papr(replace(config, neighbours=5), sphere_points(5)).double()
    with torch.no_grad():
        # PAPR keeps positions themselves, the first inputs of the key, out of its gradient.
        first = model.attention.key.layers[0]
        geometry = model.attention.query.layers[0].in_features
        first.weight[:, : first.in_features - 2 * geometry] = 0.0
    rays = one_view((8, 6))
    rays = RayBundle(rays.origins.double(), rays.directions.double(), rays.forward.double())
    weights = torch.randn(1, 6, 8, 3, dtype=torch.float64)

    def loss() -> Tensor:
        output = render(model, rays)
        return (output.rgb * weights).sum() + output.depth.sum() + output.alpha.sum()

    loss().backward()
    gradient = model.points.positions.grad
    assert gradient is not None and gradient.dtype == torch.float64
    # Small enough not to step over the kinks of ReLU and max pooling.
    values, step = model.points.positions.data, 3e-8
    for point in (0, 3):
        for axis in range(3):
            here = values[point, axis].item()
            with torch.no_grad():
                values[point, axis] = here + step
                above = loss().item()
                values[point, axis] = here - step
                below = loss().item()
                values[point, axis] = here
            measured = (above - below) / (2 * step)
            assert gradient[point, axis].item() == pytest.approx(measured, rel=1e-4, abs=1e-5)


def test_relu_scores_can_be_all_dead_and_softplus_cannot() -> None:
    rays = one_view()
    for activation, dead in (("relu", True), ("softplus", False)):
        model = small_model(score_activation=activation, proximity=False)
        with torch.no_grad():
            model.attention.project_key.weight.zero_()
            model.attention.project_key.bias.fill_(-1.0)
            model.attention.project_query.weight.zero_()
            model.attention.project_query.bias.fill_(1.0)
        output = render(model, rays)
        output.scores.sum().backward()
        assert bool((output.scores == 0.0).all()) == dead
        gradient = model.attention.project_key.bias.grad
        assert gradient is not None and bool((gradient == 0.0).all()) == dead


def test_influence_scales_the_score_of_its_point() -> None:
    model, rays = small_model(proximity=False), one_view()
    with torch.no_grad():
        before = render(model, rays)
        model.points.influence.mul_(2.0)
        after = render(model, rays)
    assert torch.equal(before.indices, after.indices)
    assert torch.allclose(after.scores, 2.0 * before.scores, rtol=1e-4, atol=1e-5)


def test_proximity_prefers_near_and_front_points() -> None:
    """With influence zero only proximity is left: the nearest and foremost of points wins."""
    model = small_model(proximity=True)
    with torch.no_grad():
        model.points.influence.zero_()
        output = render(model, one_view())
    picked = output.attention_weights.argmax(-1, keepdim=True)
    points = model.points.positions.detach()[output.indices]
    distance = points - one_view().origins[0]
    nearest_first = output.scores.argsort(-1, descending=True)
    assert torch.equal(nearest_first[..., :1], picked)
    along = (distance * one_view().directions.unsqueeze(-2)).sum(-1)
    across = (distance.square().sum(-1) - along.square()).clamp(min=0.0)
    dominated = (across.unsqueeze(-1) > across.unsqueeze(-2) + 1e-6) & (
        along.unsqueeze(-1) > along.unsqueeze(-2) + 1e-6
    )
    # Farther from the ray and deeper than another point: never the larger score.
    larger = output.scores.unsqueeze(-1) >= output.scores.unsqueeze(-2)
    assert dominated.any() and not (dominated & larger).any()


def test_points_behind_the_eye_get_no_attention() -> None:
    model = small_model(200)
    ahead = one_view()
    away = RayBundle(ahead.origins, -ahead.directions, -ahead.forward)
    assert render(model, ahead).alpha.max() > 0.1
    assert render(model, away).alpha.max() < 1e-3
