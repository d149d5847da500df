"""What six pictures say of depth without a network, beside loops that are plain to read."""

import numpy as np
import pytest
import torch
from six_spheres import TINY, rig, six_views
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.data.eyes import Eye
from sjc_papr.feed_forward import geometry
from sjc_papr.feed_forward.geometry import colour_disagreement, hull_depth, lift
from sjc_papr.feed_forward.samples import (
    SYMMETRIES,
    describe,
    network_inputs,
    refuse_asymmetric,
    transformed,
    true_correction,
)
from training_core.config import ConfigError


def pixel_of(camera: Camera, point: np.ndarray) -> tuple[float, float]:
    pixels, depth = camera.project(point[None].astype(np.float64))
    assert depth[0] > 0
    return float(pixels[0, 0]), float(pixels[0, 1])


def point_at(camera: Camera, row: int, column: int, depth: float) -> np.ndarray:
    x, y = (column + 0.5 - camera.cx) / camera.fl_x, (camera.cy - row - 0.5) / camera.fl_y
    local = np.array([x, y, -1.0]) * depth
    return camera.cam_to_world[:3, :3] @ local + camera.position


def slow_hull(alpha: Tensor, cameras: tuple[Camera, ...], view: int, row: int, column: int) -> list:
    """Depths at which one ray is inside most other pictures, first and last."""
    camera = cameras[view]
    distance = float(np.linalg.norm(camera.position))
    depths = torch.linspace(distance - 3**0.5 / 2, distance + 3**0.5 / 2, 128).tolist()
    counts = []
    for depth in depths:
        inside = 0
        for other, their in enumerate(cameras):
            if other != view:
                x, y = pixel_of(their, point_at(camera, row, column, depth))
                held = 0 <= x < their.width and 0 <= y < their.height
                inside += held and float(alpha[other, int(y), int(x)]) > geometry.COVERED
        counts.append(inside)
    best = [d for d, count in zip(depths, counts, strict=True) if count == max(counts)]
    return [best[0], best[-1]]


def test_hull_depth_is_that_of_the_plain_loop_and_before_the_surface() -> None:
    views = six_views()
    alpha = views.images[..., 3]
    hull = hull_depth(alpha, views.cameras)
    for view, row, column in ((0, 12, 12), (1, 8, 14), (4, 15, 9)):
        entry, exit_ = slow_hull(alpha, views.cameras, view, row, column)
        assert float(hull.entry[view, row, column]) == pytest.approx(entry, abs=1e-4)
        assert float(hull.exit[view, row, column]) == pytest.approx(exit_, abs=1e-4)
    assert views.depth is not None
    shown = alpha >= geometry.SHOWN
    assert bool((hull.entry[shown] > 0).all()) and not hull.entry[~shown].any()
    # Half a pixel of 24 is 0.02 units; the ray is sampled every 0.014.
    assert bool((hull.entry <= views.depth + 0.05)[shown].all())
    assert bool((hull.exit >= hull.entry).all())


def test_lifting_and_projecting_are_each_others_inverse() -> None:
    views = six_views()
    assert views.depth is not None
    points = lift(views.depth, views.cameras)
    for view, camera in enumerate(views.cameras):
        pixel, depth = Eye.of(camera).project(points[view, 5:9, 11:13])
        assert torch.allclose(depth, views.depth[view, 5:9, 11:13], atol=1e-5)
        rows, columns = torch.meshgrid(torch.arange(5, 9), torch.arange(11, 13), indexing="ij")
        there = depth > 0
        assert torch.allclose(
            pixel[there], torch.stack([columns, rows], -1)[there] + 0.5, atol=1e-3
        )
    on_sphere = points[views.depth > 0].norm(dim=-1)
    assert torch.allclose(on_sphere, torch.full_like(on_sphere, 0.4), atol=1e-4)


def slow_sample(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear, zero outside; pixel centres at half-integers."""
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    found = np.zeros(picture.shape[-1])
    for row in (top, top + 1):
        for column in (left, left + 1):
            weight = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
            if 0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]:
                found += weight * picture[row, column]
    return found


def test_disagreement_of_colours_is_that_of_the_plain_loop() -> None:
    views = six_views()
    cameras, pictures = views.cameras, views.images.numpy()
    entry = hull_depth(views.images[..., 3], cameras).entry
    behind = torch.tensor(TINY.guesses)
    found = colour_disagreement(views.images, cameras, entry, behind)
    grey = 0.5 + (pictures[..., :3] - 0.5) * pictures[..., 3:]
    seen = np.concatenate([grey, pictures[..., 3:]], -1)
    for view, row, column in ((0, 12, 12), (3, 9, 14), (5, 14, 8)):
        for side, other in enumerate(((view - 1) % 6, (view + 1) % 6)):
            for guess, more in enumerate(TINY.guesses):
                depth = float(entry[view, row, column]) + more
                point = point_at(cameras[view], row, column, depth)
                theirs = slow_sample(seen[other], *pixel_of(cameras[other], point))
                expected = np.abs(theirs[:3] - grey[view, row, column]).mean()
                expected = expected if theirs[3] > geometry.COVERED else 1.0
                value = float(found[view, side * len(TINY.guesses) + guess, row, column])
                assert value == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("row", range(len(SYMMETRIES)))
def test_a_turned_or_mirrored_object_is_what_the_same_cameras_would_see(row: int) -> None:
    views = six_views((0.05, 0.02, 0.03), side=16)
    before = describe("", views.images, views.cameras, views.depth, TINY)
    after = transformed(before, row)
    pictures = after.pictures.float() / 255.0
    again = describe("", pictures, views.cameras, after.depth, TINY)
    assert torch.equal(again.pictures, after.pictures)
    # A depth on the border of two samples may fall to either.
    assert float((again.entry - after.entry).abs().max()) < 0.015
    apart = (again.disagreement.float() - after.disagreement.float()).abs()
    assert float((apart > 8).float().mean()) < 0.02
    (correction, known), (theirs, _) = true_correction(after), true_correction(before)
    order, mirror = SYMMETRIES[row]
    moved = theirs[0][order].flip(2) if mirror else theirs[0][order]
    assert torch.equal(correction[0], moved) and bool(known.any())


def test_recolouring_changes_nothing_but_colours() -> None:
    views = six_views(side=16)
    before = describe("", views.images, views.cameras, views.depth, TINY)
    after = transformed(before, 0, (2, 0, 1))
    assert torch.equal(after.pictures[..., 0], before.pictures[..., 2])
    same = zip(network_inputs(before)[1:], network_inputs(after)[1:], strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_cameras_without_the_rigs_symmetry_are_refused() -> None:
    views = six_views(side=16)
    cameras = (*rig(16)[1:], rig(16)[2])
    sample = describe("odd", views.images, cameras, None, TINY)
    with pytest.raises(ConfigError, match=r"odd.*augment"):
        refuse_asymmetric([sample])
