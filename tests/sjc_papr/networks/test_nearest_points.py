"""Nearest points to rays: the culling search against a float64 search over every pair."""

import math

import pytest
import torch
from tiny_scene import brute_force_distances
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.networks.nearest_points import nearest_points
from sjc_papr.networks.rays import RayBundle, camera_rays

KINDS = ("half_line", "line")


def bundle(eye: tuple[float, float, float], size: tuple[int, int], angle: float) -> RayBundle:
    return camera_rays(Camera.from_angle_x(look_at(eye), *size, angle))


def assert_nearest(rays: RayBundle, positions: Tensor, k: int, found: Tensor, kind: str) -> None:
    """K different points whose distances are the K smallest, up to rounding in float32."""
    distances = brute_force_distances(rays, positions, kind)
    k = min(k, len(positions))
    assert found.shape == (*rays.directions.shape[:3], k) and found.dtype == torch.int64
    ordered = found.sort(-1).values
    assert (ordered[..., 1:] > ordered[..., :-1]).all(), "a point was picked twice"
    best = distances.topk(k, largest=False).values
    picked = distances.gather(-1, found).sort(-1).values
    farthest = (positions.double() - rays.origins.double()[:1]).norm(dim=-1).max()
    # Points closer to a tie than float32 can tell may swap; nothing else may.
    assert (picked - best).abs().max() <= 3e-7 * farthest


def assert_same_sets(rays: RayBundle, positions: Tensor, k: int, found: Tensor, kind: str) -> None:
    """Exactly the brute force's sets on all rays whose K-th place is no tie in float64."""
    distances = brute_force_distances(rays, positions, kind)
    values, expected = distances.topk(k + 1, largest=False)
    reach = (positions.double() - rays.origins.double()[:1]).norm(dim=-1).max()
    clear = (values[..., k] - values[..., k - 1]) > 1e-12 * reach
    assert clear.float().mean() > 0.99
    same = (found.sort(-1).values == expected[..., :k].sort(-1).values).all(-1)
    assert same[clear].all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [4.0, 40.0, 1600.0])
def test_sets_equal_brute_force_at_any_distance(radius: float, kind: str) -> None:
    positions = torch.rand(400, 3) - 0.5
    # The object fills the image from everywhere.
    rays = bundle(
        (0.6 * radius, -0.7 * radius, 0.4 * radius), (33, 21), 2 * math.atan(0.7 / radius)
    )
    found = nearest_points(rays, positions, 10, distance_to=kind)
    assert_nearest(rays, positions, 10, found, kind)
    assert_same_sets(rays, positions, 10, found, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eye", [(0.0, -1600.0, 0.0), (0.0, -700.0, 0.0), (0.0, -96.0, 28.0)])
def test_telephoto_along_an_axis(eye: tuple[float, float, float], kind: str) -> None:
    """Directions so close to an axis that float32 rounds most of them to the same length."""
    positions = torch.rand(2000, 3) - 0.5
    rays = bundle(eye, (40, 24), 2 * math.atan(0.6 / math.hypot(*eye)))
    found = nearest_points(rays, positions, 10, distance_to=kind)
    assert_same_sets(rays, positions, 10, found, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_points_over_many_blocks(kind: str) -> None:
    positions = torch.nn.functional.normalize(torch.randn(5000, 3), dim=1) * 0.5
    rays = bundle((2.0, -3.0, 1.0), (70, 50), 0.4)
    assert_same_sets(
        rays, positions, 20, nearest_points(rays, positions, 20, distance_to=kind), kind
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("angle", [1.7, 3.0])
def test_tiles_wider_than_a_right_angle(angle: float, kind: str) -> None:
    """A fisheye of few pixels: one tile's cone holds half of all directions, points cross 90°."""
    positions = torch.randn(300, 3) * 2.0
    rays = bundle((0.2, -0.1, 0.3), (4, 4), angle)
    assert_same_sets(rays, positions, 5, nearest_points(rays, positions, 5, distance_to=kind), kind)


def test_more_neighbours_than_points_ahead_of_the_eye() -> None:
    ahead, behind = torch.rand(3, 3) - 0.5, torch.rand(60, 3) + torch.tensor([-0.5, -9.0, -0.5])
    positions = torch.cat([ahead, behind])
    rays = bundle((0.0, -4.0, 0.0), (9, 7), 0.3)
    found = nearest_points(rays, positions, 8)
    assert_same_sets(rays, positions, 8, found, "half_line")
    assert ((found < 3).sum(-1) == 3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_all_but_one_point(kind: str) -> None:
    positions = torch.rand(12, 3) - 0.5
    rays = bundle((1.5, -2.0, 1.0), (9, 9), 0.5)
    assert_same_sets(
        rays, positions, 11, nearest_points(rays, positions, 11, distance_to=kind), kind
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_world_far_from_its_origin_with_one_point_far_away(kind: str) -> None:
    away = torch.tensor([300.0, -200.0, 100.0])
    positions = torch.cat([torch.rand(400, 3) - 0.5 + away, torch.tensor([[9e4, 0.0, 0.0]])])
    eye = (301.5, -202.0, 101.0)
    camera = Camera.from_angle_x(look_at(eye, target=tuple(away.tolist())), 21, 18, 0.5)
    rays = camera_rays(camera)
    assert_same_sets(rays, positions, 6, nearest_points(rays, positions, 6, distance_to=kind), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("angle", [0.3, 1.2, 2.6])
def test_camera_inside_the_cloud(angle: float, kind: str) -> None:
    positions = torch.randn(300, 3)
    rays = bundle((0.1, 0.05, -0.2), (19, 23), angle)
    found = nearest_points(rays, positions, 7, distance_to=kind)
    assert_same_sets(rays, positions, 7, found, kind)


def test_points_behind_the_camera_count_for_lines_only() -> None:
    behind = torch.tensor([[0.0, 5.0, 0.0], [0.01, 6.0, 0.0]])
    ahead = torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.1, 0.2], [0.4, 0.0, 0.4]])
    rays = bundle((0.0, 3.0, 0.0), (5, 5), 0.05)
    positions = torch.cat([behind, ahead])
    as_lines = nearest_points(rays, positions, 2, distance_to="line")[0, 2, 2]
    as_half_lines = nearest_points(rays, positions, 2, distance_to="half_line")[0, 2, 2]
    assert set(as_lines.tolist()) == {0, 1}
    assert set(as_half_lines.tolist()) <= {2, 3, 4}


@pytest.mark.parametrize("kind", KINDS)
def test_all_points_behind_the_camera(kind: str) -> None:
    rays = bundle((0.0, -3.0, 0.0), (9, 9), 0.8)
    positions = torch.randn(120, 3) * 0.3 + torch.tensor([0.0, -6.0, 0.0])
    found = nearest_points(rays, positions, 5, distance_to=kind)
    assert_nearest(rays, positions, 5, found, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_points_exactly_on_rays_and_at_the_eye(kind: str) -> None:
    rays = bundle((2.0, 1.0, 0.5), (12, 12), 0.5)
    on_rays = rays.origins + rays.directions[0, ::3, ::3].reshape(-1, 3) * 2.0
    positions = torch.cat([rays.origins, on_rays, torch.rand(60, 3) - 0.5])
    found = nearest_points(rays, positions, 4, distance_to=kind)
    assert_nearest(rays, positions, 4, found, kind)
    for i in range(4):
        for j in range(4):
            chosen = found[0, 3 * i, 3 * j].tolist()
            assert 0 in chosen and 1 + 4 * i + j in chosen


@pytest.mark.parametrize("kind", KINDS)
def test_exact_ties_give_k_different_points(kind: str) -> None:
    rays = bundle((0.0, -4.0, 0.0), (10, 10), 0.3)
    grid = torch.linspace(-0.5, 0.5, 5)
    lattice = torch.cartesian_prod(grid, grid, grid)
    positions = torch.cat([lattice, lattice, torch.zeros(20, 3)])  # every point twice and more
    found = nearest_points(rays, positions, 9, distance_to=kind)
    assert_nearest(rays, positions, 9, found, kind)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_fewer_points_than_k_are_all_taken(count: int) -> None:
    rays = bundle((0.0, -4.0, 0.0), (6, 5), 0.3)
    found = nearest_points(rays, torch.randn(count, 3), 8)
    assert found.shape == (1, 5, 6, count)
    assert (found.sort(-1).values == torch.arange(count)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 37), (17, 16), (40, 2)])
def test_tiles_cut_by_the_border(size: tuple[int, int], kind: str) -> None:
    positions = torch.rand(150, 3) - 0.5
    rays = bundle((1.5, -2.0, 1.0), size, 0.5)
    for tile in (1, 4, 8):
        found = nearest_points(rays, positions, 6, distance_to=kind, tile=tile)
        assert_same_sets(rays, positions, 6, found, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_small_chunks_change_nothing(kind: str) -> None:
    positions = torch.rand(200, 3) - 0.5
    rays = bundle((1.5, -2.0, 1.0), (21, 18), 0.5)
    whole = nearest_points(rays, positions, 6, distance_to=kind).sort(-1).values
    for max_pairs in (1, 300, 5000):
        parts = nearest_points(rays, positions, 6, distance_to=kind, max_pairs=max_pairs)
        assert torch.equal(parts.sort(-1).values, whole)


def test_windows_with_eyes_of_their_own() -> None:
    positions = torch.rand(150, 3) - 0.5
    eyes = [(3.0, 0.0, 0.0), (0.0, -40.0, 1.0)]
    bundles = [bundle(eye, (9, 7), 0.3) for eye in eyes]
    found = nearest_points(RayBundle.stack(bundles), positions, 6)
    for i, single in enumerate(bundles):
        assert_same_sets(single, positions, 6, found[i : i + 1], "half_line")


def test_no_gradient_is_kept() -> None:
    positions = torch.rand(50, 3, requires_grad=True)
    found = nearest_points(bundle((0.0, -4.0, 0.0), (6, 5), 0.3), positions, 5)
    assert not found.requires_grad
