"""Where near views stand, where their points are seen from the base, and which are hidden."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from textured_sphere import (
    LENGTH,
    ODD,
    draw_view,
    exact_rays,
    leaf,
    neighbour,
    random_view,
    sees,
    surface_points,
)
from tiny_scene import cameras

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.novel_view.geometry_config import NearConfig
from sjc_papr.novel_view.near_view import bilinear, near_view_loss, reproject

PAIRED, PSEUDO = NearConfig(mode="paired_l1"), NearConfig(mode="eq1_pseudo")


def pixel_centres(camera: Camera) -> np.ndarray:
    """[H * W, 2] as (x, y)."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_correct_geometry_costs_the_warp_little_and_the_pair_much(seed: int) -> None:
    camera = cameras(5, (90, 70), seed=seed)[seed]
    base, near = draw_view(camera), draw_view(neighbour(camera, seed))
    paired = near_view_loss(base, near, PAIRED, LENGTH)
    pseudo = near_view_loss(base, near, PSEUDO, LENGTH)
    assert pseudo.loss < paired.loss / 5.0
    # The same measure for both: mean absolute colour difference where the base sees the point.
    unwarped = (near.rgb - base.rgb)[pseudo.mask].abs().mean()
    warped = (near.rgb - pseudo.warped)[pseudo.mask].abs().mean()
    assert warped < unwarped / 5.0
    covered = near.alpha > 0.5
    assert pseudo.mask.sum() > 0.9 * covered.sum()
    assert not pseudo.mask[~covered].any()


def test_colours_alone_find_the_right_depth() -> None:
    left, right = (look_at((x, -2.5, 0.3)) for x in (-0.2, 0.2))
    base, near = (draw_view(Camera.from_angle_x(pose, 60, 50, 0.6)) for pose in (left, right))
    config = replace(PSEUDO, depth_weight=0.0, visibility_tolerance=1.0)
    losses = {}
    for shift in (-0.06, -0.03, 0.0, 0.03, 0.06):
        moved = (near.depth + shift).requires_grad_(True)
        result = near_view_loss(base, near._replace(depth=moved), config, LENGTH)
        losses[shift] = result.loss.item()
        if shift:
            (gradient,) = torch.autograd.grad(result.loss, moved)
            assert math.copysign(1.0, gradient.sum().item()) == math.copysign(1.0, shift)
    assert losses[-0.06] > losses[-0.03] > 5.0 * losses[0.0]
    assert losses[0.06] > losses[0.03] > 5.0 * losses[0.0]


def test_occluded_and_empty_pixels_have_no_gradient() -> None:
    """Two spheres, one hiding part of the other from the base: checked ray by ray."""
    centres = ((0.0, 0.0, 0.0), (0.1, -1.2, 0.1))
    at = (0.0, -3.5, 0.0), (1.4, -3.2, 0.2)
    base_camera, near_camera_ = (Camera.from_angle_x(look_at(eye), 72, 60, 0.8) for eye in at)
    base, near = draw_view(base_camera, centres), leaf(draw_view(near_camera_, centres))
    near.rgb.data += 0.1 * torch.rand_like(near.rgb)
    near.depth.data += 1e-3
    result = near_view_loss(base, near, PSEUDO, LENGTH)
    rgb, depth, alpha = torch.autograd.grad(result.loss, near[1:], allow_unused=True)
    assert alpha is None
    assert rgb is not None and depth is not None
    assert not rgb[~result.mask].any() and not depth[~result.mask].any()
    assert (rgb[result.mask].abs().amax(-1) > 0.0).all() and (depth[result.mask] != 0.0).all()

    covered = near.alpha > 0.5
    points = surface_points(near_camera_, near.depth.detach().numpy() - 1e-3).reshape(-1, 3)
    visible = torch.tensor(sees(base_camera.position, points, centres)).view_as(covered)
    hidden = covered & ~visible
    assert hidden.sum() > 30 and (covered & visible).sum() > 200
    assert not result.mask[~covered].any()
    # What a pixel of the base still sees within the tolerance may count as seen at its edge.
    assert result.mask[hidden].float().mean() < 0.02
    assert result.mask[covered & visible].float().mean() > 0.8


def test_points_outside_the_base_picture_do_not_count() -> None:
    camera = cameras(1, (60, 50))[0]
    near = draw_view(neighbour(camera))
    half = Camera(camera.cam_to_world, 30, 50, camera.fl_x, camera.fl_y, camera.cx, camera.cy)
    pixels, _ = reproject(near.depth, near.camera, half)
    mask = near_view_loss(draw_view(half), near, PSEUDO, LENGTH).mask
    beyond = (near.alpha > 0.5) & (pixels[..., 0] > 30.0)
    assert beyond.sum() > 100 and mask.sum() > 100
    assert not mask[beyond].any()


@pytest.mark.parametrize("first, second", [ODD, ODD[::-1]])
def test_reprojection_is_eye_plus_ray(first: Camera, second: Camera) -> None:
    """X = o' + t d', t the planar depth over the ray's part along the axis; off-centre cameras."""
    depth = 1.5 + torch.rand(first.height, first.width, dtype=torch.float64)
    rays = exact_rays(first)
    along = depth / (rays.directions[0] @ rays.forward[0])
    points = rays.origins[0] + along[..., None] * rays.directions[0]
    assert np.allclose(points.numpy(), surface_points(first, depth.numpy()), atol=1e-6)
    expected, expected_depth = second.project(surface_points(first, depth.numpy()).reshape(-1, 3))
    pixels, other = reproject(depth, first, second)
    assert np.allclose(pixels.numpy().reshape(-1, 2), expected, atol=1e-8)
    assert np.allclose(other.numpy().ravel(), expected_depth, atol=1e-9)
    by_rays, _ = second.project(points.numpy().reshape(-1, 3))
    assert np.allclose(pixels.numpy().reshape(-1, 2), by_rays, atol=1e-4)


def test_reprojection_is_differentiable_in_depth() -> None:
    depth = (1.5 + torch.rand(8, 11, dtype=torch.float64)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda d: reproject(d, *ODD), depth)


def test_reprojection_to_the_same_camera_is_the_identity_to_the_last_bit() -> None:
    for camera in (*ODD, *cameras(5)):
        for dtype in (torch.float32, torch.float64):
            depth = 0.5 + 9.0 * torch.rand(camera.height, camera.width, dtype=dtype)
            pixels, other = reproject(depth, camera, camera)
            centres = torch.tensor(pixel_centres(camera)).to(dtype)
            assert torch.equal(pixels.reshape(-1, 2), centres) and torch.equal(other, depth)


def test_depth_behind_an_eye_stays_finite_and_does_not_count() -> None:
    base, near = random_view(ODD[0]), leaf(random_view(ODD[1]))
    with torch.no_grad():
        near.depth[:3] = torch.tensor([-2.0, 0.0, -1e-9], dtype=torch.float64)[:, None]
        near.alpha.fill_(1.0)
    config = replace(PSEUDO, visibility_tolerance=50.0, alpha_threshold=0.0)
    result = near_view_loss(base, near, config, LENGTH)
    rgb, depth = torch.autograd.grad(result.loss, (near.rgb, near.depth))
    assert rgb.isfinite().all() and depth.isfinite().all()
    assert not result.mask[:3].any() and not depth[:3].any() and result.mask[3:].any()


def test_bilinear_is_four_corners_by_hand() -> None:
    image = torch.rand(5, 7, 2, dtype=torch.float64)
    pixels = torch.rand(4, 6, 2, dtype=torch.float64) * torch.tensor([9.0, 7.0]) - 1.0
    sampled = bilinear(image, pixels)
    for row in range(4):
        for column in range(6):
            x, y = (pixels[row, column] - 0.5).tolist()
            x, y = min(max(x, 0.0), 6.0), min(max(y, 0.0), 4.0)
            value = torch.zeros(2, dtype=torch.float64)
            for i in range(5):
                for j in range(7):
                    value += image[i, j] * max(0.0, 1.0 - abs(x - j)) * max(0.0, 1 - abs(y - i))
            assert torch.allclose(sampled[row, column], value, atol=1e-12)
    centres = torch.tensor([[[2.5, 3.5], [6.5, 4.5]]], dtype=torch.float64)
    assert torch.equal(bilinear(image, centres)[0], image[[3, 4], [2, 6]])


@pytest.mark.parametrize("camera", [*ODD, *cameras(4)])
def test_a_near_camera_stands_near_and_keeps_its_aim(camera: Camera) -> None:
    moves = []
    for seed in range(200):
        near = neighbour(camera, seed)
        moves.append((near.position - camera.position) / (0.05 * LENGTH))
        aim = camera.position - camera.forward * (camera.position @ camera.forward)
        towards = aim - near.position
        assert near.forward @ towards == pytest.approx(np.linalg.norm(towards))
        assert near.forward @ camera.forward > math.cos(0.05)
        assert near.cam_to_world[:3, 0] @ camera.cam_to_world[:3, 0] > math.cos(0.05)
        for name in ("width", "height", "fl_x", "fl_y", "cx", "cy"):
            assert getattr(near, name) == getattr(camera, name)
    assert np.allclose(np.linalg.norm(moves, axis=1), 1.0)
    assert np.abs(np.mean(moves, axis=0)).max() < 0.2  # 5 sigma of a mean of 200
    assert np.allclose(np.cov(np.transpose(moves)), np.eye(3) / 3.0, atol=0.12)


def test_near_a_pole_the_picture_does_not_spin() -> None:
    top = Camera.from_angle_x(look_at((0.0, 0.0, 2.5)), 20, 16, 0.6)
    for seed in range(20):
        near = neighbour(top, seed)
        assert near.cam_to_world[:3, 0] @ top.cam_to_world[:3, 0] > 0.999


def test_a_near_camera_leaves_the_base_alone() -> None:
    """Known fault: the perturbed pose was the dataset's own matrix, changed in place."""
    camera = cameras(1)[0]
    before = camera.cam_to_world.copy()
    near = neighbour(camera)
    assert np.array_equal(camera.cam_to_world, before)
    assert not np.shares_memory(near.cam_to_world, camera.cam_to_world)
    assert np.array_equal(neighbour(camera).cam_to_world, near.cam_to_world)
    assert not np.array_equal(neighbour(camera, 1).cam_to_world, near.cam_to_world)
