"""Point colours against a ball whose images are worked out ray by ray."""

import numpy as np
import pytest
import torch
from ball_scene import unproject
from torch import Tensor

from animate_papr.surface.point_colours import colours_from_neighbours, point_colours
from blender_render.geometry.cameras import Camera, fibonacci_sphere, look_at

RADIUS = 0.5
RED, BLUE = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.8])


def ball_colour(points: Tensor) -> Tensor:
    """Red where x > 0, else blue."""
    return torch.where(points[..., :1] > 0, RED, BLUE)


def picture_of_ball(camera: Camera, background: float) -> tuple[Tensor, Tensor, Tensor]:
    """rgb, alpha and planar depth; alpha is 0.75, so that the background shines through."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    far = unproject(camera, pixels, np.ones(len(pixels)))  # one unit of planar depth along each ray
    eye, step = camera.position, far - camera.position
    a, b = (step**2).sum(1), step @ eye
    root = b**2 - a * (eye @ eye - RADIUS**2)
    hit = root > 0
    depth = torch.from_numpy(np.where(hit, (-b - np.sqrt(np.maximum(root, 0))) / a, 0.0)).float()
    surface = torch.from_numpy(eye + step * depth.numpy()[:, None]).float()
    alpha = 0.75 * torch.from_numpy(hit).float()
    rgb = alpha[:, None] * ball_colour(surface) + (1 - alpha[:, None]) * background
    size = (camera.height, camera.width)
    return rgb.view(*size, 3), alpha.view(size), depth.view(size)


def coloured(points: Tensor, influence: Tensor, cameras: list[Camera]) -> tuple[Tensor, Tensor]:
    images, alpha, depth = map(
        torch.stack, zip(*(picture_of_ball(c, 1.0) for c in cameras), strict=True)
    )
    return point_colours(points, influence, images, alpha, depth, cameras, tolerance=0.05)


def camera_at(direction: np.ndarray) -> Camera:
    return Camera.from_angle_x(look_at(3.0 * direction), 72, 64, 0.5)


def test_surface_points_get_their_colour_without_the_background() -> None:
    points = RADIUS * torch.from_numpy(fibonacci_sphere(400)).float()
    rgb, seen = coloured(points, torch.ones(400), [camera_at(d) for d in fibonacci_sphere(14)])
    inside_a_half = points[:, 0].abs() > 0.05  # a pixel on the seam shows either colour
    assert (seen > 0).all()
    torch.testing.assert_close(rgb[inside_a_half], ball_colour(points)[inside_a_half])


def test_hidden_inner_and_powerless_points_stay_grey() -> None:
    front, back = torch.tensor([[0.0, -RADIUS, 0.0]]), torch.tensor([[0.0, RADIUS, 0.0]])
    points = torch.cat([front, back, torch.zeros(1, 3), front, torch.tensor([[0.0, -9.0, 0.0]])])
    influence = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0])
    rgb, seen = coloured(points, influence, [camera_at(np.array([0.0, -1.0, 0.0]))])
    assert (seen > 0).tolist() == [True, False, False, False, False]
    assert torch.equal(rgb[1:], torch.full((4, 3), 0.5))
    assert not torch.equal(rgb[0], torch.full((3,), 0.5))


def test_points_outside_every_picture_stay_grey() -> None:
    rgb, seen = coloured(torch.tensor([[40.0, 0.0, 0.0]]), torch.ones(1), [camera_at(np.eye(3)[1])])
    assert seen.item() == 0
    assert rgb.tolist() == [[0.5, 0.5, 0.5]]


def test_unseen_points_take_the_nearest_seen_colour() -> None:
    positions = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0.9, 0, 0], [0.2, 0, 0]])
    rgb = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]])
    filled = colours_from_neighbours(positions, rgb, torch.tensor([1.0, 2.0, 0.0, 0.0]))
    assert filled.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]]
    unchanged = colours_from_neighbours(positions, rgb, torch.zeros(4))
    assert torch.equal(unchanged, rgb)


def test_sizes_must_agree() -> None:
    camera = camera_at(np.eye(3)[0])
    with pytest.raises(ValueError, match="cameras of that size"):
        point_colours(
            torch.zeros(1, 3),
            torch.ones(1),
            torch.zeros(1, 8, 8, 3),
            torch.zeros(1, 8, 8),
            torch.zeros(1, 8, 8),
            [camera],
            tolerance=0.1,
        )
