"""The one render path: attention's bookkeeping, geometry of depth, memory bound, number formats."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from ball_scene import unproject
from tiny_scene import RADIUS, cameras, one_view, small_config, small_model, sphere_points
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.networks import renderer
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.networks.rays import PixelWindow, RayBundle, camera_rays, ray_point_geometry
from sjc_papr.networks.renderer import RenderOutput, render, render_cameras

OFF_CENTRE = Camera.from_angle_x(look_at((3.0, -2.0, 1.5), target=(0.2, 0.2, -0.1)), 9, 7, 0.3)


def on_plane(rays: RayBundle, height: float) -> Tensor:
    """Where every ray meets the plane z = height, [H * W, 3]."""
    directions = rays.directions.reshape(-1, 3)
    return rays.origins + directions * (height - rays.origins[0, 2]) / directions[:, 2:]


def test_weights_are_a_softmax_over_points_and_background() -> None:
    model = small_model(background_score=1.5)
    output = render(model, one_view())
    scores = torch.cat([output.scores, torch.full_like(output.scores[..., :1], 1.5)], dim=-1)
    assert torch.allclose(output.weights(), scores.softmax(-1), atol=1e-6)
    assert torch.allclose(output.weights().sum(-1), torch.ones(()), atol=1e-6)
    assert torch.allclose(output.attention_weights.sum(-1), torch.ones(()), atol=1e-6)


def test_alpha_depth_variance_and_surface_of_one_ray_by_hand() -> None:
    model, camera = small_model(background_score=0.5), OFF_CENTRE
    output = render(model, camera_rays(camera))
    row, column = 3, 4
    indices = output.indices[0, row, column].tolist()
    powers = [math.exp(s) for s in output.scores[0, row, column].tolist()]
    total = sum(powers)
    points = model.points.positions.detach()[indices]
    _, depths = camera.project(points.numpy())
    mean = sum(p / total * z for p, z in zip(powers, depths, strict=True))
    variance = sum(p / total * (z - mean) ** 2 for p, z in zip(powers, depths, strict=True))
    surface = sum(p / total * point for p, point in zip(powers, points, strict=True))
    alpha = total / (total + math.exp(0.5))
    assert output.alpha[0, row, column].item() == pytest.approx(alpha, abs=1e-5)
    assert output.depth[0, row, column].item() == pytest.approx(mean, abs=1e-4)
    assert output.depth_variance[0, row, column].item() == pytest.approx(variance, abs=1e-4)
    assert torch.allclose(output.surface[0, row, column], surface, atol=1e-4)


def test_depth_of_a_plane_seen_by_a_camera_that_looks_past_the_origin() -> None:
    rays = camera_rays(OFF_CENTRE)
    plane = on_plane(rays, -0.2)
    rows = PointRows(plane, torch.ones(len(plane)), torch.randn(len(plane), 8))
    output = render(Papr(replace(small_config(), neighbours=1), rows), rays)
    _, planar = OFF_CENTRE.project(plane.numpy())
    assert torch.allclose(output.depth.flatten(), torch.tensor(planar).float(), atol=1e-4)
    assert torch.allclose(output.surface.view(-1, 3), plane, atol=1e-5)
    assert output.depth_variance.max() < 1e-6


def test_windows_are_cut_from_the_whole_picture() -> None:
    camera = cameras(1)[0]
    window = PixelWindow(3, 5, 6, 8)
    cut = camera_rays(camera, window)
    assert torch.equal(cut.directions, camera_rays(camera).directions[:, 3:9, 5:13])
    pixels = torch.tensor([[5.5, 3.5], [12.5, 8.5]]).numpy()
    there = torch.from_numpy(unproject(camera, pixels, torch.ones(2).numpy())).float()
    towards = torch.nn.functional.normalize(there - cut.origins, dim=-1)
    assert torch.allclose(cut.directions[0, [0, -1], [0, -1]], towards, atol=1e-5)


def test_ray_point_geometry_splits_the_vector() -> None:
    rays, points = one_view((4, 3)), torch.randn(1, 3, 4, 5, 3)
    parts = ray_point_geometry(rays.origins, rays.directions, points)
    to_point = points - rays.origins[0]
    assert torch.allclose(parts.projection + parts.offset, to_point, atol=1e-5)
    assert (parts.offset * rays.directions.unsqueeze(-2)).sum(-1).abs().max() < 1e-5
    assert torch.allclose(
        parts.ray_distance * rays.directions.unsqueeze(-2), parts.projection, atol=1e-6
    )


def differences(a: RenderOutput, b: RenderOutput) -> dict[str, float]:
    names = ("rgb", "alpha", "depth", "depth_variance", "surface", "features")
    return {name: (getattr(a, name) - getattr(b, name)).abs().max().item() for name in names}


@pytest.mark.parametrize("max_rays", [1, 50, 90])
def test_few_rays_at_once_change_nothing(max_rays: int) -> None:
    model, rays = small_model(), one_view()
    with torch.inference_mode():
        whole, parts = render(model, rays), render(model, rays, max_rays=max_rays)
    assert max(differences(whole, parts).values()) < 1e-5


def test_several_windows_equal_one_after_the_other() -> None:
    model = small_model()
    bundles = [camera_rays(camera) for camera in cameras(3)]
    with torch.inference_mode():
        together = render(model, RayBundle.stack(bundles))
        for i, bundle in enumerate(bundles):
            alone = render(model, bundle)
            assert (together.rgb[i] - alone.rgb[0]).abs().max() < 1e-5
            assert (together.depth[i] - alone.depth[0]).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (20, 17)])
def test_any_picture_size_from_four_up(size: tuple[int, int]) -> None:
    output = render(small_model(), one_view(size))
    assert output.rgb.shape == (1, size[1], size[0], 3)
    assert output.rgb.isfinite().all()


def test_background_shows_where_no_point_is_near() -> None:
    model = small_model()
    away = Camera.from_angle_x(look_at((3.0, 0.0, 0.0), target=(3.0, 6.0, 0.0)), 8, 8, 0.6)
    colour = torch.tensor([0.2, 0.5, 0.9])
    output = render(model, camera_rays(away), background=colour)
    assert output.alpha.max() < 1e-6
    assert torch.allclose(output.rgb, colour.expand_as(output.rgb), atol=1e-5)


def test_rays_far_from_every_point_give_finite_gradients() -> None:
    model = small_model()
    away = Camera.from_angle_x(look_at((30.0, 0.0, 0.0), target=(30.0, 60.0, 0.0)), 8, 8, 0.5)
    output = render(model, camera_rays(away))
    assert output.scores.max() < -1e3
    (output.rgb.sum() + output.depth.sum() + output.depth_variance.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_bfloat16_is_close_to_float32() -> None:
    model, rays = small_model(), one_view()
    with torch.inference_mode():
        exact, rough = render(model, rays), render(model, rays, precision="bfloat16")
    assert rough.rgb.dtype == torch.float32
    assert torch.equal(exact.indices.sort(-1).values, rough.indices.sort(-1).values)
    assert (exact.rgb - rough.rgb).abs().max() < 1e-2
    assert (exact.depth - rough.depth).abs().max() < 1e-2 * RADIUS


def test_k_beyond_the_number_of_points() -> None:
    model = Papr(small_config(), sphere_points(3))
    output = render(model, one_view())
    assert output.attention_weights.shape[-1] == 3 and output.rgb.isfinite().all()


def test_cameras_rendered_together_equal_cameras_rendered_alone() -> None:
    model = small_model()
    sizes = [(9, 7), (9, 7), (9, 7), (6, 8), (9, 7)]
    looked = [cameras(1, size, seed=i)[0] for i, size in enumerate(sizes)]
    together = list(render_cameras(model, looked, max_rays=2 * 9 * 7))
    assert len(together) == len(looked)
    for camera, output in zip(looked, together, strict=True):
        with torch.no_grad():
            alone = render(model, camera_rays(camera))
        assert output.rgb.shape == alone.rgb.shape
        assert torch.allclose(output.rgb, alone.rgb, atol=1e-5)
        assert torch.allclose(output.depth, alone.depth, atol=1e-5)


def test_cameras_rendered_together_stay_within_the_ray_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = []
    search = renderer.nearest_points

    def counting(rays: RayBundle, *arguments: Any, **named: Any) -> Tensor:
        most.append(rays.directions[..., 0].numel())
        return search(rays, *arguments, **named)

    monkeypatch.setattr(renderer, "nearest_points", counting)
    list(render_cameras(small_model(), cameras(7, (8, 6)), max_rays=100))
    assert max(most) <= 100 and sum(most) == 7 * 8 * 6
    assert len(most) == 4  # two images at a time


@pytest.mark.parametrize("size", [(21, 90), (24, 64), (9, 33)])
def test_painting_in_bands_leaves_no_seam(size: tuple[int, int]) -> None:
    model = small_model()
    torch.nn.init.normal_(model.unet.down2.bias)  # so that zero padding in a wrong place shows
    rays = one_view(size)
    with torch.no_grad():
        whole = render(model, rays)
        for max_rays in (1, 8 * size[0], 30 * size[0]):
            bands = render(model, rays, max_rays=max_rays)
            assert torch.allclose(bands.rgb, whole.rgb, atol=1e-6)


def test_painting_in_bands_never_sees_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    model, heights = small_model(), []
    model.unet.register_forward_pre_hook(lambda _, inputs: heights.append(inputs[0].shape[2]))
    with torch.no_grad():
        render(model, one_view((10, 300)), max_rays=10 * 40)
    assert max(heights) <= 40 + 2 * 16 and len(heights) == 8
