"""What two frames' pictures show of a cloud: values by loops, sight by a slow search."""

import numpy as np
import pytest
import torch
from tiny_scene import RADIUS, cameras, sphere_points, sphere_views
from torch import Tensor

from animate_papr.following.picture_match import PictureMatch, gaussian_blur
from blender_render.dataset.readers import Views

RISE = (0.0, 0.0, 0.1)


@pytest.fixture
def points() -> Tensor:
    torch.manual_seed(0)
    return sphere_points(400).positions


def everything(points: Tensor) -> Tensor:
    return torch.arange(len(points))


def test_blur_equals_a_loop() -> None:
    picture = torch.rand(1, 1, 6, 5)
    sigma, reach = 0.8, 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    blurred = gaussian_blur(picture, sigma)
    for row in range(6):
        for column in range(5):
            total = 0.0
            for down in range(-reach, reach + 1):
                for across in range(-reach, reach + 1):
                    y, x = min(max(row + down, 0), 5), min(max(column + across, 0), 4)
                    share = weights[down + reach] * weights[across + reach]
                    total += share * picture[0, 0, y, x].item()
            assert blurred[0, 0, row, column].item() == pytest.approx(total, abs=1e-5)
    assert torch.equal(gaussian_blur(picture, 0.1), picture), "less than a pixel: nothing to do"


def test_the_right_place_matches_best(points: Tensor) -> None:
    """The sphere rises by 0.1: of all heights on the way, the true one differs least."""
    match = PictureMatch(points, sphere_views(12), sphere_views(12, centre=RISE), side=128)
    views = torch.arange(12)
    errors = {}
    for height in (0.0, 0.05, 0.1, 0.15):
        there = points + torch.tensor([0.0, 0.0, height])
        match.look(there)
        errors[height] = match.error(there, everything(points), views, blur=0.05).item()
    assert min(errors, key=lambda height: errors[height]) == 0.1
    assert errors[0.1] < 0.2 * errors[0.0]


def test_from_afar_the_gradient_points_the_right_way(points: Tensor) -> None:
    match = PictureMatch(points, sphere_views(12), sphere_views(12, centre=RISE), side=128)
    shift = torch.zeros(3, requires_grad=True)
    views = torch.arange(12)
    match.error(points + shift, everything(points), views, blur=0.1).backward()
    assert shift.grad is not None
    way = -shift.grad / shift.grad.norm()
    assert way[2] > 0.9, "upwards, as the sphere went"


def test_what_points_hide_is_not_seen(points: Tensor) -> None:
    """Against the distance of every point to the line of sight of every other."""
    views = sphere_views(4)
    match = PictureMatch(points, views, views, side=128)
    for index, camera in enumerate(views.cameras):
        pixels, depth = camera.project(points.numpy())
        for point in range(0, len(points), 7):
            apart = np.abs(pixels - pixels[point]).max(axis=1)
            allowed = max(0.03, 1.2 * match.old.cell / camera.fl_x * depth[point])
            nearer = depth < depth[point] - allowed
            seen = bool(match.seen_before[index, point])
            if (nearer & (apart < match.old.cell)).any():
                assert not seen, "one within the cell or those around it surely hides it"
            if not (nearer & (apart <= 2.0 * match.old.cell)).any():
                assert seen, "nothing near its line of sight"


@pytest.mark.parametrize("count", [600, 5000])
@pytest.mark.parametrize("side", [128, 512])
def test_few_points_of_the_far_side_shine_through(count: int, side: int) -> None:
    """However few points hide them, and however large the pictures are."""
    torch.manual_seed(0)
    points, rig = sphere_points(count).positions, cameras(3, (512, 400))
    blank = torch.zeros(3, 400, 512, 4)
    match = PictureMatch(points, *[Views(blank, rig, None, ("a", "b", "c"))] * 2, side=side)
    for seen, camera in zip(match.seen_before, rig, strict=True):
        towards = torch.tensor(camera.position.tolist())
        facing = (points * torch.nn.functional.normalize(towards - points, dim=1)).sum(1)
        assert seen[facing < -0.5 * RADIUS].float().mean() < 0.1
        assert seen[facing > 0.8 * RADIUS].float().mean() > 0.9


def test_points_outside_the_pictures_count_for_nothing(points: Tensor) -> None:
    views = sphere_views(6)
    match = PictureMatch(points, views, views, side=128)
    match.look(points + 50.0)
    error = match.error(points + 50.0, everything(points), torch.arange(6), blur=0.03)
    assert error.item() == 0.0


def test_views_are_paired_by_their_cameras(points: Tensor) -> None:
    """The first frame's pictures in another order change nothing."""
    old, new = sphere_views(8), sphere_views(8, centre=RISE)
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    mixed = Views(
        old.images[order],
        tuple(old.cameras[i] for i in order),
        None,
        tuple(old.names[i] for i in order),
    )
    errors = []
    for before in (old, mixed):
        match = PictureMatch(points, before, new, side=128)
        match.look(points)
        errors.append(match.error(points, everything(points), torch.arange(8), blur=0.03))
    assert torch.equal(*errors)


def test_large_pictures_are_reduced(points: Tensor) -> None:
    views = sphere_views(5)
    match = PictureMatch(points, views, views, side=10)
    assert match.new.rgba.shape == (5, 4, 8, 10)
    camera = cameras(5)[0].resized(10, 8)
    pixels, depth = camera.project(points.numpy())
    found, far = match.new.project(points)
    np.testing.assert_allclose(found[0].numpy(), pixels, atol=1e-4)
    np.testing.assert_allclose(far[0].numpy(), depth, atol=1e-5)


def test_equal_frames_do_not_differ(points: Tensor) -> None:
    views = sphere_views(6)
    match = PictureMatch(points, views, views, side=128)
    match.look(points)
    error = match.error(points, everything(points), torch.arange(6), blur=0.03)
    assert error.item() == pytest.approx(0.0, abs=1e-7)
