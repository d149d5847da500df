"""Near-view consistency: exact zero for equal poses, honest gradients, every mode by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from textured_sphere import LENGTH, ODD, draw_view, leaf, neighbour, random_view
from tiny_scene import cameras, small_config, small_model, sphere_points
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render
from sjc_papr.novel_view.geometry_config import NearConfig
from sjc_papr.novel_view.near_view import (
    NearResult,
    RenderedView,
    ground_truth_loss,
    near_camera,
    near_view_loss,
)

PAIRED, PSEUDO = NearConfig(mode="paired_l1"), NearConfig(mode="eq1_pseudo")
PAIR_MODES = pytest.mark.parametrize("config", [PAIRED, PSEUDO], ids=["paired_l1", "eq1_pseudo"])


def view_of(model: Papr, camera: Camera) -> RenderedView:
    """A render with its gradients, from rays of its own; from here on in float64."""
    output = render(model, camera_rays(camera))
    return RenderedView(camera, *(x[0].double() for x in (output.rgb, output.depth, output.alpha)))


@PAIR_MODES
@pytest.mark.parametrize("seed", range(3))
def test_the_same_pose_costs_exactly_nothing(config: NearConfig, seed: int) -> None:
    camera = cameras(7, (20, 16), seed=seed)[seed]
    model = small_model()
    result = near_view_loss(view_of(model, camera), view_of(model, camera), config, LENGTH)
    assert result.loss.item() == 0.0
    assert result.mask.any()
    result.loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@PAIR_MODES
@pytest.mark.parametrize("camera", ODD, ids=["first", "second"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_odd_pose_costs_exactly_nothing(
    config: NearConfig, camera: Camera, dtype: torch.dtype
) -> None:
    view = random_view(camera, dtype)
    result = near_view_loss(view, view, config, LENGTH)
    assert result.loss.item() == 0.0
    if config.mode == "eq1_pseudo":
        assert torch.equal(result.mask, view.alpha > config.alpha_threshold)
        assert torch.equal(result.warped, view.rgb)


@PAIR_MODES
def test_another_pose_costs_something_and_teaches_every_part(config: NearConfig) -> None:
    """Known fault: both poses were rendered from the same rays, so the loss and all its gradients
    were exactly zero.
    """
    model, camera = small_model(), cameras(1)[0]
    near = neighbour(camera)
    assert not torch.equal(camera_rays(near).directions, camera_rays(camera).directions)
    loose = replace(config, visibility_tolerance=0.5)
    result = near_view_loss(view_of(model, camera), view_of(model, near), loose, LENGTH)
    assert result.loss.item() > 1e-6 and result.mask.sum() > 20
    result.loss.backward()
    for name, group in model.groups().items():
        assert any(p.grad is not None and p.grad.abs().max() > 0.0 for p in group), name


@pytest.mark.parametrize("mode", ["paired_l1", "eq1_pseudo", "eq1_gt"])
def test_the_depth_part_alone_reaches_the_points(mode: str) -> None:
    """Known fault: depth was detached and moved to the CPU, so its part could teach nothing."""
    model, camera = small_model(), cameras(1)[0]
    base, near = view_of(model, camera), view_of(model, neighbour(camera))
    near = near._replace(rgb=near.rgb.detach(), alpha=near.alpha.detach())
    config = NearConfig(mode=mode, visibility_tolerance=0.5)
    gradients = []
    for weight in (0.0, 2.0):
        weighted = replace(config, depth_weight=weight)
        if mode == "eq1_gt":
            truth = torch.full_like(near.depth, 2.2)
            result = ground_truth_loss(near, near.rgb, truth, weighted, LENGTH)
        else:
            result = near_view_loss(base.detach(), near, weighted, LENGTH)
        (gradient,) = (
            torch.autograd.grad(
                result.loss, model.points.positions, retain_graph=True, allow_unused=True
            )
            if result.loss.requires_grad
            else (None,)
        )
        gradients.append(torch.zeros(1) if gradient is None else gradient)
    assert gradients[1].abs().max() > 1e-6
    assert not torch.equal(gradients[0], gradients[1])


def smooth_model() -> Papr:
    """Every ray attends to all points, so that moving one never changes which it sees."""
    return Papr(replace(small_config(frequencies=1), neighbours=40), sphere_points(40))


def pseudo_of_fixed_base(model: Papr, base: RenderedView, near: Camera) -> Callable[[], NearResult]:
    """eq1_pseudo as a function of the model's present points, the base held fixed."""
    config = replace(PSEUDO, visibility_tolerance=10.0, alpha_threshold=0.01)
    return lambda: near_view_loss(base.detach(), view_of(model, near), config, LENGTH)


def paired_of_both(model: Papr, camera: Camera, near: Camera) -> Callable[[], NearResult]:
    """paired_l1 as a function of the model's points, which move both views.

    The base is pushed away by a fixed pattern, so that no absolute value is near its kink, where
    finite differences measure something else.
    """
    size = (camera.height, camera.width)
    rgb = torch.randn(*size, 3).sign() * 0.5
    depth = torch.randn(size).sign() * 0.5 / view_of(model, camera).alpha.detach()

    def loss() -> NearResult:
        base = view_of(model, camera)
        pushed = base._replace(rgb=base.rgb + rgb, depth=base.depth + depth)
        return near_view_loss(pushed, view_of(model, near), PAIRED, LENGTH)

    return loss


@PAIR_MODES
@pytest.mark.parametrize("seed", range(2))
def test_gradients_at_the_points_are_those_of_finite_differences(
    config: NearConfig, seed: int
) -> None:
    model, camera = smooth_model(), cameras(3, (12, 10))[seed]
    near = neighbour(camera, seed)
    if config.mode == "paired_l1":
        loss = paired_of_both(model, camera, near)
    else:
        loss = pseudo_of_fixed_base(model, view_of(model, camera), near)
    positions = model.points.positions
    (gradient,) = torch.autograd.grad(loss().loss, positions)
    assert gradient.norm() > 1e-4
    start = positions.detach().clone()
    for direction in (gradient / gradient.norm(), torch.randn_like(gradient)):
        direction = direction / direction.norm()
        step = 1e-3
        values, masks = [], []
        with torch.no_grad():
            for sign in (1.0, -1.0):
                positions.copy_(start + sign * step * direction)
                result = loss()
                values.append(result.loss.double().item())
                masks.append(result.mask)
            positions.copy_(start)
        assert torch.equal(*masks)
        measured = (values[0] - values[1]) / (2.0 * step)
        expected = (gradient * direction).sum().item()
        assert measured == pytest.approx(expected, rel=0.03, abs=0.01 * gradient.norm().item())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_at_the_pictures_are_those_of_finite_differences(reduction: str) -> None:
    """In float64, through the warp: depth moves where the base is looked at."""
    base, near = draw_view(ODD[0]), leaf(draw_view(ODD[1]))
    near.depth.data += 0.01 * torch.randn_like(near.depth)
    near.rgb.data += 0.05 * torch.randn_like(near.rgb)
    config = replace(PSEUDO, visibility_tolerance=0.2, depth_weight=0.7, reduction=reduction)

    def loss(rgb: Tensor, depth: Tensor) -> Tensor:
        view = RenderedView(near.camera, rgb, depth, near.alpha.detach())
        return near_view_loss(base, view, config, LENGTH).loss

    assert loss(near.rgb, near.depth).item() > 0.0
    assert torch.autograd.gradcheck(loss, (near.rgb, near.depth))


def scaled_view(view: RenderedView, factor: float) -> RenderedView:
    """The same image of a world of another scale."""
    pose = view.camera.cam_to_world.copy()
    pose[:3, 3] *= factor
    camera = replace(view.camera, cam_to_world=pose)
    return RenderedView(camera, view.rgb, view.depth * factor, view.alpha)


@PAIR_MODES
def test_the_scale_of_the_world_does_not_matter(config: NearConfig) -> None:
    camera = cameras(1, (30, 24))[0]
    base, near = draw_view(camera), draw_view(neighbour(camera))
    loss = near_view_loss(base, near, config, LENGTH).loss.item()
    large = near_view_loss(scaled_view(base, 10.0), scaled_view(near, 10.0), config, 10.0 * LENGTH)
    assert large.loss.item() == pytest.approx(loss, rel=1e-6)
    step = neighbour(camera).position - camera.position
    wide = scaled_view(base, 10.0).camera
    moved = (
        near_camera(wide, config, 10.0 * LENGTH, torch.Generator().manual_seed(0)).position
        - wide.position
    )
    assert np.allclose(moved, 10.0 * step)


@pytest.mark.parametrize("seed", range(3))
@PAIR_MODES
def test_sum_is_mean_times_height_width_three(config: NearConfig, seed: int) -> None:
    camera = cameras(3, (30, 24))[seed]
    base, near = draw_view(camera), draw_view(neighbour(camera, seed))
    mean = near_view_loss(base, near, config, LENGTH).loss
    total = near_view_loss(base, near, replace(config, reduction="sum"), LENGTH).loss
    assert total.item() == pytest.approx(30 * 24 * 3 * mean.item())


def test_paired_l1_by_hand_and_who_learns_from_it() -> None:
    base, near = (
        leaf(draw_view(camera)) for camera in (ODD[0], replace(ODD[1], width=11, height=8))
    )
    config = replace(PAIRED, depth_weight=0.4)

    def filled(view: RenderedView) -> Tensor:
        through_origin = view.camera.project(np.zeros((1, 3)))[1][0]
        return torch.where(view.alpha > 0.5, view.depth, torch.tensor(through_origin))

    expected = (near.rgb - base.rgb).abs().mean()
    expected = expected + 0.4 * (filled(near) - filled(base)).abs().mean() / LENGTH
    result = near_view_loss(base, near, config, LENGTH)
    assert result.loss.item() == pytest.approx(expected.item())
    result.loss.backward()
    assert base.rgb.grad is not None and torch.equal(base.rgb.grad, -near.rgb.grad)
    base, near = leaf(base), leaf(near)
    near_view_loss(base, near, replace(config, stop_gradient="base"), LENGTH).loss.backward()
    assert base.rgb.grad is None and base.depth.grad is None
    assert near.rgb.grad is not None and near.rgb.grad.any() and near.depth.grad.any()


def test_the_base_of_eq1_pseudo_is_a_constant() -> None:
    camera = cameras(1, (30, 24))[0]
    base, near = leaf(draw_view(camera)), leaf(draw_view(neighbour(camera)))
    near_view_loss(base, near, PSEUDO, LENGTH).loss.backward()
    assert all(tensor.grad is None for tensor in base[1:])
    assert near.rgb.grad is not None and near.rgb.grad.any()


def test_ground_truth_by_hand_with_depth_only_where_it_is() -> None:
    view = leaf(random_view(ODD[0]))
    image, truth = torch.rand_like(view.rgb), 2.0 + torch.rand_like(view.depth)
    truth[:, :4] = 0.0
    config = NearConfig(mode="eq1_gt", depth_weight=0.3)
    result = ground_truth_loss(view, image, truth, config, LENGTH)
    error = ((view.depth - truth) / LENGTH)[:, 4:].square().sum() / view.depth.numel()
    expected = (view.rgb - image).square().mean() + 0.3 * error
    assert result.loss.item() == pytest.approx(expected.item())
    assert torch.equal(result.mask, truth > 0.0) and torch.equal(result.warped, image)
    (gradient,) = torch.autograd.grad(result.loss, view.depth)
    assert not gradient[:, :4].any() and (gradient[:, 4:] != 0.0).all()
    colours = ground_truth_loss(view, image, None, config, LENGTH)
    assert colours.loss.item() == pytest.approx((view.rgb - image).square().mean().item())
    assert not colours.mask.any()
    total = ground_truth_loss(view, image, truth, replace(config, reduction="sum"), LENGTH)
    assert total.loss.item() == pytest.approx(result.loss.item() * 8 * 11 * 3)
    same = ground_truth_loss(view, view.rgb.detach(), view.depth.detach(), config, LENGTH)
    assert same.loss.item() == 0.0


def test_modes_that_do_not_fit_are_refused() -> None:
    first, second = (random_view(camera) for camera in ODD)
    with pytest.raises(ValueError, match="ground_truth_loss"):
        near_view_loss(first, second, NearConfig(mode="eq1_gt"), LENGTH)
    with pytest.raises(ValueError, match="differ in size"):
        near_view_loss(first, second, PAIRED, LENGTH)
    assert near_view_loss(first, second, PSEUDO, LENGTH).mask.shape == second.alpha.shape


@pytest.mark.parametrize(
    "bad", [{"perturbation": 0.0}, {"weight": -1.0}, {"neighbours": 0}, {"alpha_threshold": 2.0}]
)
def test_bad_numbers_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        NearConfig(**bad).validate()
