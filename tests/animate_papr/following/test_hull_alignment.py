"""Following the outline: points arrive, keep their order, and the result is a pure function."""

import pytest
import torch
from tiny_scene import sphere_points, sphere_views

from animate_papr.following.config import AlignConfig
from animate_papr.following.hull_alignment import align_to_hull, chamfer

SMALL = AlignConfig(steps=150, rate=5e-3, surface_points=150, neighbours=6)


@pytest.fixture
def before() -> torch.Tensor:
    torch.manual_seed(0)
    return sphere_points(150).positions


def test_chamfer_equals_a_loop() -> None:
    points, target = torch.randn(7, 3), torch.randn(5, 3)
    there = [min(float((p - t).square().sum()) for t in target) for p in points]
    back = [min(float((p - t).square().sum()) for p in points) for t in target]
    expected = 0.5 * (sum(there) / 7 + sum(back) / 5)
    assert chamfer(points, target).item() == pytest.approx(expected, rel=1e-5)


def test_points_follow_an_object_that_moved(before: torch.Tensor) -> None:
    step = (0.3, 0.0, 0.1)
    moved = align_to_hull(before, sphere_views(16, centre=step), SMALL, seed=0)
    travel = (moved - before).mean(dim=0)
    assert torch.allclose(travel, torch.tensor(step), atol=0.05)
    # Point i went where point i should: no one was replaced by a neighbour.
    assert (moved - before - torch.tensor(step)).norm(dim=1).median() < 0.1


def test_no_steps_leave_the_points_where_they_were(before: torch.Tensor) -> None:
    still = align_to_hull(before, sphere_views(4), AlignConfig(steps=0), seed=0)
    assert torch.equal(still, before) and still is not before


def test_the_same_arguments_give_the_same_bits(before: torch.Tensor) -> None:
    views = sphere_views(12, centre=(0.1, 0.0, 0.0))
    config = AlignConfig(steps=20, surface_points=100, neighbours=6)
    first = align_to_hull(before, views, config, seed=3)
    assert torch.equal(first, align_to_hull(before, views, config, seed=3))
