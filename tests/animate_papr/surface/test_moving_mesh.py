"""A mesh that follows points: exactly where they move together, and near them always."""

import numpy as np
import pytest
import torch
from ball_scene import draw

from animate_papr.surface.around import Around, surrounding_cameras
from animate_papr.surface.moving_mesh import MeshConfig, carry, distances, moving_mesh, together
from blender_render.geometry.cameras import fibonacci_sphere

RADIUS = 0.4


@pytest.fixture(scope="module")
def ball() -> tuple[Around, torch.Tensor]:
    """Images of a ball, red where x > 0, and points [600, 3] on it."""
    cameras = surrounding_cameras(12, 2.5, 40.0, (48, 48))
    pictures = [draw(c, [((0.0, 0.0, 0.0), RADIUS, (0.8, 0.1, 0.1))]) for c in cameras]
    rgba = torch.stack([torch.from_numpy(p / 255.0).float() for p, _ in pictures])
    depth = torch.stack([torch.from_numpy(d).float() for _, d in pictures])
    around = Around(rgba[..., :3], rgba[..., 3], depth, depth, tuple(cameras))
    return around, RADIUS * torch.from_numpy(fibonacci_sphere(600)).float()


def test_a_ball_that_moves_takes_its_mesh_along(ball: tuple[Around, torch.Tensor]) -> None:
    around, points = ball
    shift = torch.tensor([0.2, -0.1, 0.3])
    positions = torch.stack([points, points + shift])
    mesh = moving_mesh(around, positions, torch.ones(600), MeshConfig(resolution=24), 0.05)
    assert mesh is not None
    assert np.abs(np.linalg.norm(mesh.vertices[0], axis=1) - RADIUS).max() < 0.04
    np.testing.assert_allclose(mesh.vertices[1], mesh.vertices[0] + shift.numpy(), atol=1e-5)
    assert np.abs(mesh.rgb.astype(int) - [204, 26, 26]).max() < 3
    assert all(0 < value < 0.03 for error in mesh.errors for value in error.values())
    assert mesh.errors[1] == pytest.approx(mesh.errors[0], rel=1e-2)


def test_points_without_influence_and_images_of_nothing(ball: tuple[Around, torch.Tensor]) -> None:
    around, points = ball
    empty = Around(around.rgb, 0 * around.alpha, around.depth, around.front, around.cameras)
    config = MeshConfig(resolution=12)
    assert moving_mesh(empty, points[None], torch.ones(600), config, 0.05) is None
    assert moving_mesh(around, points[None], torch.zeros(600), config, 0.05) is None


def test_vertices_on_points_go_where_these_go() -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(3, 50, 3, generator=generator)
    moved = positions[0] + carry(positions[0], positions, neighbours=1)
    torch.testing.assert_close(moved, positions, atol=1e-6, rtol=0)


def test_a_lost_point_pulls_nothing_along() -> None:
    points = torch.from_numpy(fibonacci_sphere(40)).float()
    later = points + torch.tensor([0.0, 0.0, 0.25])
    later[7] += 5.0
    motion = carry(points, torch.stack([points, later]), neighbours=5)
    torch.testing.assert_close(motion[0], torch.zeros(40, 3))
    torch.testing.assert_close(motion[1], torch.tensor([0.0, 0.0, 0.25]).expand(40, 3))


def test_neighbours_share_a_difference_and_keep_what_is_common() -> None:
    # A strip: 0 - 1 - 2 - 3, and a triangle apart from it.
    triangles = torch.tensor([[0, 1, 2], [1, 3, 2], [4, 5, 6]])
    motion = torch.zeros(1, 7, 3)
    motion[0, :4, 0], motion[0, 0, 1], motion[0, 4:, 2] = 1.0, 1.0, 3.0
    once = together(motion, triangles, 1)
    torch.testing.assert_close(once[..., 0], motion[..., 0])
    torch.testing.assert_close(once[..., 2], motion[..., 2])
    # 0 has the neighbours 1 and 2; 1 has 0, 2 and 3; 3 has 1 and 2.
    torch.testing.assert_close(once[0, :4, 1], torch.tensor([0.5, 1 / 6, 1 / 6, 0.0]))
    assert torch.equal(together(motion, triangles, 0), motion)


def test_distances_are_those_of_a_slow_search() -> None:
    generator = torch.Generator().manual_seed(1)
    vertices, points = (
        torch.rand(70, 3, generator=generator),
        torch.rand(90, 3, generator=generator),
    )
    slow = torch.tensor([[float((v - p).norm()) for v in vertices] for p in points])
    found = distances(vertices, points)
    assert found["points_to_mesh"] == pytest.approx(float(slow.min(1).values.mean()), rel=1e-3)
    assert found["mesh_to_points"] == pytest.approx(float(slow.min(0).values.mean()), rel=1e-3)


@pytest.mark.parametrize("wrong", [{"resolution": 4}, {"neighbours": 0}, {"smoothing": -1}])
def test_settings_without_a_mesh_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        MeshConfig(**wrong).validate()
