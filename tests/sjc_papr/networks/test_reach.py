"""Rays out of reach of every point see background; the rest is as if all were computed."""

import pytest
import torch
from tiny_scene import brute_force_distances, one_view, small_model

from sjc_papr.networks import renderer
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import RenderOutput, attend_all_and_mask, render

REACH = 0.05


def rendered(reach: float, count: int = 60) -> tuple[Papr, RenderOutput]:
    torch.manual_seed(0)
    model = small_model(count, reach=reach)
    return model, render(model, one_view(), background=0.3)


def gradients(model: Papr, output: RenderOutput) -> list[torch.Tensor]:
    torch.manual_seed(1)
    loss = (output.rgb * torch.randn_like(output.rgb)).sum() + output.alpha.square().sum()
    return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))


def test_rays_far_from_every_point_see_background_alone() -> None:
    model, output = rendered(REACH)
    distance = brute_force_distances(one_view(), model.points.positions.detach(), "half_line")
    far = distance.amin(-1) > REACH
    assert far.any() and not far.all()
    assert (output.alpha[far] == 0.0).all() and (output.alpha[~far] > 0.0).all()
    assert torch.allclose(output.rgb[far], torch.tensor(0.3))
    assert torch.allclose(output.attention_weights.sum(-1), torch.ones(()))


def test_rays_within_reach_are_attended_as_without_a_bound() -> None:
    _, bounded = rendered(REACH)
    _, free = rendered(0.0)
    near = bounded.alpha > 0.0
    for name in ("alpha", "scores", "attention_weights", "features", "depth"):
        of_bounded, of_free = getattr(bounded, name)[near], getattr(free, name)[near]
        assert torch.allclose(of_bounded, of_free, atol=1e-5), name


def test_leaving_rays_out_equals_computing_and_masking_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, output = rendered(REACH)
    wanted_gradients = gradients(model, output)
    monkeypatch.setattr(renderer, "attend_near", attend_all_and_mask)
    twin, wanted = rendered(REACH)
    for name in ("rgb", "alpha", "depth", "surface", "scores", "attention_weights", "features"):
        assert torch.allclose(getattr(output, name), getattr(wanted, name), atol=1e-5), name
    compared = 0
    for ours, theirs in zip(wanted_gradients, gradients(twin, wanted), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            compared += int(ours.abs().amax() > 0.0)
    assert compared > 10


def test_a_picture_that_nothing_reaches_is_background_with_gradients_of_zero() -> None:
    model, output = rendered(1e-6)
    assert (output.alpha == 0.0).all() and torch.allclose(output.rgb, torch.tensor(0.3))
    found = [g for g in gradients(model, output) if g is not None]
    assert found and all((g == 0.0).all() for g in found)


def test_a_point_behind_the_eye_is_as_far_as_the_eye() -> None:
    torch.manual_seed(0)
    model = small_model(40, reach=0.5)
    rays = one_view()
    behind = rays.origins - 2.0 * rays.forward
    with torch.no_grad():
        model.points.positions.copy_(behind + 0.1 * torch.randn(40, 3))
    assert (render(model, rays).alpha == 0.0).all()
