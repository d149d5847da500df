"""Where rays first meet the object, beside a loop that is plain to read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pseudo_data import known_views, other_cameras
from tiny_scene import draw_sphere

from blender_render.geometry.cameras import Camera
from sjc_papr.data.eyes import Eye
from sjc_papr.feed_forward.geometry import COVERED
from sjc_papr.pseudo_views import ray_fusion
from sjc_papr.pseudo_views.depth_views import DepthViews
from sjc_papr.pseudo_views.ray_fusion import first_surface


def place_on(camera: Camera, pixel: int, depth: float) -> np.ndarray:
    """The point at a planar depth on the ray of a pixel, row * width + column."""
    row, column = divmod(pixel, camera.width)
    x, y = (column + 0.5 - camera.cx) / camera.fl_x, (camera.cy - row - 0.5) / camera.fl_y
    return camera.cam_to_world[:3, :3] @ (np.array([x, y, -1.0]) * depth) + camera.position


def plain_distance(views: DepthViews, point: np.ndarray) -> tuple[float, bool]:
    """Weighted mean of what each view says of one place, and whether it is in the hull."""
    said, weights, hull = 0.0, 0.0, True
    for view, camera in enumerate(views.cameras):
        pixels, away = camera.project(point[None])
        column, row = (int(np.floor(x)) for x in pixels[0])
        if not (0 <= column < camera.width and 0 <= row < camera.height):
            hull = False
            continue
        hull &= float(views.images[view, row, column, 3]) > COVERED
        surface, error = (float(v[view, row, column]) for v in (views.depth, views.error))
        in_front = (surface - float(away[0])) / ray_fusion._CUT_OFF
        if surface > 0 and in_front > -1.0:
            weight = 1.0 / (error + 0.01) ** 2
            said += weight * min(in_front, 1.0)
            weights += weight
    return (said / weights if weights else -0.5), hull


def test_the_surface_is_where_a_plain_search_finds_it() -> None:
    generator = torch.Generator().manual_seed(0)
    views = known_views()
    bent = views.depth + 0.02 * torch.randn(views.depth.shape, generator=generator)
    error = 0.05 * torch.rand(views.depth.shape, generator=generator)
    views = replace(views, depth=torch.where(views.depth > 0, bent, 0.0), error=error)
    camera = other_cameras()[1]
    surface = first_surface(views, camera)
    pixels, low, high = ray_fusion._hull_spans(views, Eye.of(camera), camera)
    found = 0
    for number in range(0, len(pixels), 9):
        depths = np.linspace(float(low[number]), float(high[number]), ray_fusion._FINE)
        pixel = int(pixels[number])
        said = [plain_distance(views, place_on(camera, pixel, depth)) for depth in depths]
        hull = [place for place, (_, inside) in enumerate(said) if inside]
        solid = [place for place, (value, inside) in enumerate(said) if inside and value <= 0.0]
        assert bool(surface.inside[number]) == bool(hull)
        assert bool(surface.found[number]) == bool(solid)
        if not hull:
            continue
        assert float(surface.entry[number]) == pytest.approx(depths[hull[0]], abs=1e-5)
        assert float(surface.exit[number]) == pytest.approx(depths[hull[-1]], abs=1e-5)
        expected = depths[hull[0]]
        if solid:
            found += 1
            first = solid[0]
            expected = depths[first]
            if first - 1 in hull:
                behind, before = said[first][0], said[first - 1][0]
                expected -= (depths[1] - depths[0]) * behind / (behind - before)
        assert float(surface.depth[number]) == pytest.approx(expected, abs=1e-4)
    assert found > 10


def test_true_depths_give_the_true_surface() -> None:
    for camera in other_cameras(side=64):
        surface = first_surface(known_views(side=64), camera)
        picture, truth = draw_sphere(camera)
        true = torch.tensor(truth, dtype=torch.float32).flatten()
        shown = (true[surface.pixels] > 0) & surface.found
        # Depths are looked up by the nearest pixel, and one is 0.018 units wide.
        assert (surface.depth[shown] - true[surface.pixels][shown]).abs().median() < 0.009
        # The rays of the object are all among those looked at.
        looked_at = torch.zeros(64 * 64, dtype=torch.bool)
        looked_at[surface.pixels] = True
        assert looked_at[torch.tensor(picture[..., 3] > 0).flatten()].all()


def test_odd_sides_are_numbered_rightly() -> None:
    views = known_views(side=33)
    camera = other_cameras(side=33)[0]
    surface, truth = first_surface(views, camera), torch.tensor(draw_sphere(camera)[1]).flatten()
    assert int(surface.pixels.max()) < 33 * 33
    seen = (truth[surface.pixels] > 0) & surface.found
    assert (surface.depth - truth[surface.pixels]).abs()[seen].median() < 0.02


def test_what_a_surer_view_says_counts_for_more() -> None:
    views, camera = known_views(side=64, error=0.0), other_cameras(side=64)[0]
    wrong = views.depth.clone()
    wrong[0] = torch.where(wrong[0] > 0, wrong[0] - 0.025, 0.0)
    doubt = torch.zeros_like(wrong)
    doubt[0] = 0.3
    true = first_surface(views, camera)
    sure = first_surface(replace(views, depth=wrong), camera)
    unsure = first_surface(replace(views, depth=wrong, error=doubt), camera)
    # Where no other view sees the place, or the hull begins behind it, that changes nothing.
    misled = true.found & unsure.found & ((sure.depth - true.depth).abs() > 0.005)
    assert int(misled.sum()) > 100
    error = (unsure.depth - true.depth).abs()[misled]
    assert error.median() < 0.3 * (sure.depth - true.depth).abs()[misled].median()


def test_nothing_is_seen_where_all_masks_are_empty() -> None:
    views = known_views()
    empty = replace(
        views, images=torch.zeros_like(views.images), depth=torch.zeros_like(views.depth)
    )
    surface = first_surface(empty, other_cameras()[0])
    assert len(surface.pixels) == 0
