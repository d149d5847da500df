"""Volumes behind a picture's pixels: where their cells lie, and volume rendering."""

import math

import numpy as np
import torch
from torch import Tensor

from blender_render.geometry.cameras import SIXVIEW_RIGS, Camera
from mnvs.inflation.frustum import REACH, Frustum, Rays, Volume, camera_rays, look_up, render

RIG = SIXVIEW_RIGS["v1.2"]


def some_volume(side: int = 8, depths: int = 6) -> Volume:
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(depths, side, side, generator=generator) * 8.0
    front, back = torch.rand(2, 3, side, side, generator=generator)
    return Volume(density, front, back)


def test_cells_are_the_pixels_that_the_camera_projects_to() -> None:
    camera = Camera(RIG.camera(70.0, 10.0, 48).cam_to_world, 48, 40, 90.0, 80.0, 20.0, 25.0)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (30, 3))
    pixels, depth = camera.project(points)
    cells = Frustum.of(camera).cells(torch.from_numpy(points).float()).numpy()
    distance = np.linalg.norm(camera.position)
    np.testing.assert_allclose((cells[:, 0] + 1.0) * 24.0, pixels[:, 0], atol=1e-3)
    np.testing.assert_allclose((cells[:, 1] + 1.0) * 20.0, pixels[:, 1], atol=1e-3)
    np.testing.assert_allclose(cells[:, 2], (depth - distance) / REACH, atol=1e-4)


def test_a_pixel_is_as_wide_as_the_plane_through_the_origin_says() -> None:
    half = RIG.distance * math.tan(math.radians(RIG.fov_deg) / 2)
    pixel = Frustum.of(RIG.camera(0.0, 0.0, 16)).pixel(16)
    assert math.isclose(pixel, half / 8, rel_tol=1e-5)


def test_rays_go_through_the_pixels() -> None:
    camera = RIG.camera(120.0, -10.0, 10)
    rays = camera_rays(camera, torch.tensor([0, 37, 99]))
    along = rays.origin + rays.middle[:, None] * rays.direction
    pixels, _ = camera.project(along.numpy())
    np.testing.assert_allclose(pixels, [[0.5, 0.5], [7.5, 3.5], [9.5, 9.5]], atol=1e-3)
    # The middle is the point next to the origin.
    assert (along * rays.direction).sum(-1).abs().max() < 1e-5


def plain_render(volume: Volume, frustum: Frustum, rays: Rays, samples: int) -> Tensor:
    """Colour and opacity of each ray, one sample after the other."""
    rows = []
    for origin, direction, middle in zip(*rays, strict=True):
        light, colour = 1.0, torch.zeros(3)
        for number in range(samples):
            along = middle - REACH + (number + 0.5) * 2.0 * REACH / samples
            place = frustum.cells((origin + along * direction)[None, None])
            density, own = look_up(volume, place)
            opaque = 1.0 - math.exp(-float(density) * 2.0 * REACH / samples)
            colour = colour + light * opaque * own[0, 0]
            light *= 1.0 - opaque
        rows.append(torch.cat([colour, torch.tensor([1.0 - light])]))
    return torch.stack(rows)


def test_rendering_equals_going_along_each_ray() -> None:
    volume, frustum = some_volume(), Frustum.of(RIG.camera(0.0, 0.0, 8))
    rays = camera_rays(RIG.camera(50.0, 20.0, 6), torch.tensor([8, 14, 15, 21, 27]))
    colour, alpha = render(volume, frustum, rays, 12)
    expected = plain_render(volume, frustum, rays, 12)
    torch.testing.assert_close(colour, expected[:, :3], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alpha, expected[:, 3], atol=1e-5, rtol=1e-4)


def test_a_moved_body_is_seen_where_it_came_from() -> None:
    volume, frustum = some_volume(), Frustum.of(RIG.camera(0.0, 0.0, 8))
    rays, shift = camera_rays(RIG.camera(50.0, 20.0, 6)), torch.tensor([0.1, -0.05, 0.2])
    moved = Rays(rays.origin + shift, rays.direction, rays.middle)
    seen = render(volume, frustum, rays, 9, lambda points: points + shift)
    torch.testing.assert_close(seen, render(volume, frustum, moved, 9), atol=1e-5, rtol=1e-4)


def test_nothing_is_beyond_the_picture_and_colours_change_at_the_origin() -> None:
    volume = Volume(torch.full((4, 8, 8), 3.0), torch.full((3, 8, 8), 0.2), torch.ones(3, 8, 8))
    cells = torch.tensor([[[0.0, 0.1, -0.5], [0.0, 0.1, 0.5], [0.0, 0.1, 0.0], [1.5, 0.0, 0.0]]])
    density, colour = look_up(volume, cells)
    torch.testing.assert_close(density[0], torch.tensor([3.0, 3.0, 3.0, 0.0]))
    torch.testing.assert_close(colour[0, :3, 0], torch.tensor([0.2, 1.0, 0.6]))
