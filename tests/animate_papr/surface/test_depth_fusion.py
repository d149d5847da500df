"""A signed distance from depth images of balls that are drawn exactly."""

import numpy as np
import torch
from ball_scene import draw

from animate_papr.surface.depth_fusion import Grid, fuse_depth
from blender_render.geometry.cameras import Camera, fibonacci_sphere, look_at

CENTRE, RADIUS = np.array([0.1, -0.05, 0.0]), 0.3
CAMERAS = [Camera.from_angle_x(look_at(2.5 * d), 64, 64, 0.6) for d in fibonacci_sphere(12)]


def field_of_ball(resolution: int, smoothing: int) -> tuple[Grid, np.ndarray]:
    pictures = [draw(c, [(tuple(CENTRE), RADIUS, (1, 1, 1))]) for c in CAMERAS]
    alpha = torch.stack([torch.from_numpy(p[..., 3] / 255.0) for p, _ in pictures])
    depth = torch.stack([torch.from_numpy(d) for _, d in pictures])
    box = np.stack([CENTRE - RADIUS, CENTRE + RADIUS])
    grid = Grid.around(box, resolution)
    return grid, fuse_depth(alpha, depth, CAMERAS, grid, smoothing=smoothing)


def test_inside_is_negative_and_the_surface_lies_where_it_is() -> None:
    grid, field = field_of_ball(24, smoothing=1)
    assert field.shape == grid.shape
    away = np.linalg.norm(grid.nodes() - CENTRE, axis=1).reshape(grid.shape)
    step = grid.step
    assert (field[away < RADIUS - 1.5 * step] < 0).all()
    assert (field[away > RADIUS + 1.5 * step] > 0).all()


def test_the_border_is_outside_whatever_the_images_say() -> None:
    grid = Grid.around(np.array([[-0.1] * 3, [0.1] * 3]), 8)
    full, near = torch.ones(12, 64, 64), torch.full((12, 64, 64), 0.5)
    field = fuse_depth(full, near, CAMERAS, grid)
    assert field[4:-4, 4:-4, 4:-4].max() < 0  # all behind every surface
    for axis in range(3):
        assert field.take([0, -1], axis).min() > 0


def test_a_grid_holds_its_box_with_a_margin() -> None:
    grid = Grid.around(np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.25]]), 16, margin=3)
    nodes = grid.nodes()
    assert grid.step == 1 / 16
    np.testing.assert_allclose(nodes.min(0), -3 / 16)
    assert (nodes.max(0) >= [1 + 3 / 16, 0.5 + 3 / 16, 0.25 + 3 / 16]).all()
    np.testing.assert_allclose(grid.to_world(np.array([3.0, 3.0, 3.0])), 0.0, atol=1e-12)
    assert len(nodes) == np.prod(grid.shape)
