"""Points that start from guessed depths, beside loops that are plain to read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from six_spheres import random_network, six_views

from sjc_papr.config import PointsConfig
from sjc_papr.feed_forward import geometry, start
from sjc_papr.feed_forward.guess import Guess
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.feed_forward.start import carve_by_depth, consistent_points, evenly, far_from
from sjc_papr.training.point_init import initial_points, visual_hull


def noisy_guess() -> Guess:
    """The true depth, a tenth of it too near by much, surer or less sure of it at random."""
    views = six_views()
    assert views.depth is not None
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(views.depth.shape, generator=generator) < 0.1
    error = 0.005 + 0.02 * torch.rand(views.depth.shape, generator=generator)
    depth = torch.where(wrong & (views.depth > 0), views.depth - 0.2, views.depth)
    return Guess(depth, torch.where(depth > 0, error, 0.0))


def slow_consistent(guess: Guess) -> list[np.ndarray]:
    """Pixel by pixel, view by view."""
    views, kept = six_views(), []
    for view, camera in enumerate(views.cameras):
        for row, column in np.argwhere(guess.depth[view].numpy() > 0):
            depth = float(guess.depth[view, row, column])
            x, y = (column + 0.5 - camera.cx) / camera.fl_x, (camera.cy - row - 0.5) / camera.fl_y
            point = camera.cam_to_world[:3, :3] @ (np.array([x, y, -1.0]) * depth)
            point = point + camera.position
            error, good = float(guess.error[view, row, column]), True
            for other, their in enumerate(views.cameras):
                if other == view:
                    continue
                pixels, away = their.project(point[None])
                px, py = int(np.floor(pixels[0, 0])), int(np.floor(pixels[0, 1]))
                if not (0 <= px < their.width and 0 <= py < their.height):
                    continue
                good &= float(views.images[other, py, px, 3]) > geometry.COVERED
                surface, theirs = (float(v[other, py, px]) for v in (guess.depth, guess.error))
                apart = max(2.0 * (error + theirs), 0.02)
                floats = surface > 0 and float(away[0]) < surface - apart
                good &= not (floats and theirs < error)
            if good:
                kept.append(point)
    return kept


def test_consistent_points_are_those_of_the_plain_loop() -> None:
    guess = noisy_guess()
    points, errors = consistent_points(six_views(), guess)
    slow = np.array(slow_consistent(guess))
    assert len(points) == len(errors)
    # Points that fall on the border of two pixels may go either way in float32.
    assert abs(len(points) - len(slow)) <= 3
    nearest = (torch.tensor(slow).float()[:, None] - points).norm(dim=-1).amin(1)
    assert float((nearest > 1e-4).float().sum()) <= 3
    everything = int((guess.depth > 0).sum())
    floating = points.norm(dim=1) > 0.5
    assert 0.5 * everything < len(points) < everything
    assert float(floating.float().mean()) < 0.06, "of ten percent wrong points most are dropped"


def test_depth_carves_what_lies_before_it() -> None:
    views = six_views()
    assert views.depth is not None
    guess = Guess(views.depth, torch.full_like(views.depth, 0.005))
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    solid = carve_by_depth(points, views.cameras, guess)
    radius = points.norm(dim=1)
    seen = torch.zeros(len(points), dtype=torch.bool)
    for camera, picture in zip(views.cameras, views.images, strict=True):
        alpha = geometry.Eye.of(camera).look_up(picture[..., 3], points, 0.0)
        seen |= alpha < geometry.COVERED
    assert bool(solid[radius < 0.38].all())
    assert not solid[(radius > 0.47) & ~seen].any()


def test_evenly_takes_one_of_every_cell_first() -> None:
    generator = torch.Generator().manual_seed(0)
    crowd = torch.rand(900, 3, generator=generator) * 0.1
    alone = torch.rand(100, 3, generator=generator) + 1.0
    chosen = evenly(torch.cat([crowd, alone]), 200, generator)
    assert len(chosen) == 200
    assert int((chosen[:, 0] >= 1.0).sum()) >= 70, "by lot it would be about 20"
    few = evenly(alone[:7], 20, generator)
    assert len(few) == 20 and len(few.unique(dim=0)) == 7
    assert len(evenly(alone[:0], 5, generator)) == 0


def test_far_from_is_a_distance() -> None:
    points, others = torch.rand(50, 3), torch.rand(20, 3)
    expected = [min(float((p - o).norm()) for o in others) > 0.2 for p in points]
    assert far_from(points, others, 0.2).tolist() == expected
    assert far_from(points, others[:0], 0.2).all()


def test_points_start_from_the_network(tmp_path: Path) -> None:
    network = random_network()
    DEPTH_FILES.save(tmp_path, network, network.state_dict(), {})
    views = six_views()
    config = PointsConfig(init="network", network=str(tmp_path), count=300, hull_resolution=24)
    first, again = (initial_points(views, config, 4, 0) for _ in range(2))
    assert first.positions.shape == (300, 3) and first.features.shape == (300, 4)
    assert torch.equal(first.positions, again.positions)
    hull = visual_hull(views, 24)
    assert float(torch.cdist(first.positions, hull.points).amin(1).max()) < 0.15


@pytest.mark.parametrize("empty", [True, False])
def test_unseen_hull_is_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    views = six_views()
    assert views.depth is not None
    depth = views.depth.clone()
    depth[:, :12] = 0.0  # nobody saw the upper half
    error = torch.full_like(depth, 0.005)
    guess: Callable[..., Guess] = lambda network, views: Guess(depth, error)  # noqa: E731
    monkeypatch.setattr("sjc_papr.training.point_init.guess_depth", guess)
    far = 9.0 if empty else 0.05
    config = PointsConfig(init="network", count=400, hull_resolution=32, fill_distance=far)
    upper = initial_points(views, config, 4, 0).positions[:, 2] > 0.15
    assert bool(upper.any()) != empty
    assert start._LEAST_APART > 0.0
