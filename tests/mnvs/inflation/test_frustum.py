"""Volumes behind a picture's pixels: where their cells lie, and volume rendering."""

import math

import numpy as np
import torch
from torch import Tensor

from blender_render.geometry.cameras import SIXVIEW_RIGS, Camera
from mnvs.inflation.frustum import (
    REACH,
    Frustum,
    Part,
    Rays,
    Volume,
    bounded,
    camera_rays,
    look_up_colour,
    look_up_density,
    render,
)

RIG = SIXVIEW_RIGS["v1.2"]


def some_volume(side: int = 8, depths: int = 6, seed: int = 0) -> Volume:
    generator = torch.Generator().manual_seed(seed)
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


def plain_render(parts: list[Part], frustum: Frustum, rays: Rays, samples: int) -> Tensor:
    """Colour and opacity of each ray, one sample after the other, part by part."""
    rows = []
    for origin, direction, middle in zip(*rays, strict=True):
        light, colour = 1.0, torch.zeros(3)
        for number in range(samples):
            along = middle - REACH + (number + 0.5) * 2.0 * REACH / samples
            density, own = 0.0, torch.zeros(3)
            for volume, source, _ in parts:
                point = (origin + along * direction)[None]
                place = frustum.cells(source(point) if source else point)
                if float(look_up_density(volume, place)) > density:
                    density = float(look_up_density(volume, place))
                    own = look_up_colour(volume, place)[0]
            opaque = 1.0 - math.exp(-density * 2.0 * REACH / samples)
            colour = colour + light * opaque * own
            light *= 1.0 - opaque
        rows.append(torch.cat([colour, torch.tensor([1.0 - light])]))
    return torch.stack(rows)


def test_rendering_equals_going_along_each_ray() -> None:
    frustum = Frustum.of(RIG.camera(0.0, 0.0, 8))
    parts = [Part(some_volume()), Part(some_volume(seed=1), lambda points: points + 0.1)]
    rays = camera_rays(RIG.camera(50.0, 20.0, 6), torch.tensor([8, 14, 15, 21, 27]))
    colour, alpha = render(parts, frustum, rays, 12)
    expected = plain_render(parts, frustum, rays, 12)
    torch.testing.assert_close(colour, expected[:, :3], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alpha, expected[:, 3], atol=1e-5, rtol=1e-4)


def test_a_moved_body_is_seen_where_it_came_from() -> None:
    volume, frustum = some_volume(), Frustum.of(RIG.camera(0.0, 0.0, 8))
    rays, shift = camera_rays(RIG.camera(50.0, 20.0, 6)), torch.tensor([0.1, -0.05, 0.2])
    moved = Rays(rays.origin + shift, rays.direction, rays.middle)
    seen = render([Part(volume, lambda points: points + shift)], frustum, rays, 9)
    expected = render([Part(volume)], frustum, moved, 9)
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-4)


def test_nothing_is_beyond_the_picture_and_colours_change_at_the_origin() -> None:
    volume = Volume(torch.full((4, 8, 8), 3.0), torch.full((3, 8, 8), 0.2), torch.ones(3, 8, 8))
    cells = torch.tensor([[0.0, 0.1, -0.5], [0.0, 0.1, 0.5], [0.0, 0.1, 0.0], [1.5, 0.0, 0.0]])
    density, colour = look_up_density(volume, cells), look_up_colour(volume, cells)
    torch.testing.assert_close(density, torch.tensor([3.0, 3.0, 3.0, 0.0]))
    torch.testing.assert_close(colour[:3, 0], torch.tensor([0.2, 1.0, 0.6]))


def test_a_box_changes_nothing_that_is_seen() -> None:
    volume, frustum = some_volume(), Frustum.of(RIG.camera(0.0, 0.0, 8))
    volume.density[:2] = volume.density[:, :3] = volume.density[..., 5:] = 0.0
    rays = camera_rays(RIG.camera(50.0, 20.0, 24))
    for source in (None, lambda points: points * 1.2 - 0.05):
        part = Part(volume, source)
        low, high = bounded(part, frustum).box or ()
        assert float((high - low).prod()) < 0.5 * 2.0**3  # of the cube in which it is sought
        seen, expected = (render([p], frustum, rays, 16) for p in (bounded(part, frustum), part))
        assert expected[1].max() > 0.1
        torch.testing.assert_close(seen, expected, rtol=0, atol=0)
    empty = bounded(Part(volume._replace(density=torch.zeros(6, 8, 8))), frustum)
    assert not render([empty], frustum, rays, 4)[1].any()
