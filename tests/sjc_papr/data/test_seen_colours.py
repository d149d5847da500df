"""Colours of points out of the pictures, against a ball whose colours are known."""

import numpy as np
import torch
from tiny_scene import cameras, draw_sphere, sphere_points, sphere_views
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.data.seen_colours import seen_colours
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points


def large_views(count: int) -> Views:
    """The coloured ball in pictures of 80x64."""
    eyes = cameras(count, (80, 64))
    images = torch.from_numpy(np.stack([draw_sphere(eye)[0] for eye in eyes])).float()
    return Views(images, eyes, None, tuple(f"train/{i}" for i in range(count)))


def colours_by_hand(points: Tensor, views: Views) -> Tensor:
    """Point by point: the ball itself, not other points, decides what a camera sees."""
    found = torch.full_like(points, torch.nan)
    for number, point in enumerate(points):
        seen = []
        for image, eye in zip(views.images, views.cameras, strict=True):
            to_eye = torch.tensor(eye.position).float() - point
            facing = (point / point.norm() * to_eye / to_eye.norm()).sum()
            (x, y), _ = (values[0] for values in eye.project(point[None].numpy()))
            if facing > 0.4 and image[int(y), int(x), 3] > 0.5:
                seen.append(image[int(y), int(x), :3])
        if seen:
            found[number] = torch.stack(seen).mean(0)
    return found


def test_points_have_the_colours_of_the_side_they_are_on() -> None:
    torch.manual_seed(0)
    views = large_views(8)
    points = sphere_points(2000).positions
    ours, wanted = seen_colours(points, views), colours_by_hand(points, views)
    known = wanted.isfinite().all(1)
    assert known.float().mean() > 0.8
    assert (ours - wanted)[known].abs().mean() < 0.04
    # The mean colour of the whole ball would be far off.
    assert (wanted[known].mean(0) - wanted[known]).abs().mean() > 0.1


def test_points_inside_take_the_colour_of_the_nearest_that_is_seen() -> None:
    torch.manual_seed(0)
    views = large_views(8)
    shell = sphere_points(2000).positions
    inner = 0.5 * shell[:50]
    colours = seen_colours(torch.cat([shell, inner]), views)
    nearest = torch.cdist(inner, shell).argmin(1)
    assert (colours[2000:] - colours[:2000][nearest]).abs().mean() < 0.05


def test_nothing_seen_is_grey() -> None:
    behind = torch.tensor([[0.0, 0.0, 100.0]])
    assert torch.equal(seen_colours(behind, sphere_views(1)), torch.full((1, 3), 0.5))


def test_features_start_with_colours_and_stay_random_else() -> None:
    views = large_views(6)
    plain = initial_points(views, PointsConfig(count=300), 8, 0)
    coloured = initial_points(views, PointsConfig(count=300, colours=4.0), 8, 0)
    assert torch.equal(coloured.positions, plain.positions)
    assert torch.equal(coloured.features[:, 3:], plain.features[:, 3:])
    wanted = (seen_colours(plain.positions, views) - 0.5) * 4.0
    assert torch.equal(coloured.features[:, :3], wanted)
    assert wanted.abs().amax() > 0.5


def test_fewer_channels_than_colours_have() -> None:
    narrow = initial_points(large_views(6), PointsConfig(count=50, colours=4.0), 1, 0)
    assert narrow.features.shape == (50, 1)
