"""Points carried along known paths, against loops and motions whose answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from animate_papr.following.known_motion import NEIGHBOURS, carry_along


def drawn(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 0.5


def turn(seed: int) -> Tensor:
    """A random rotation matrix."""
    made, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return torch.from_numpy(made * np.sign(np.linalg.det(made))).float()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rigid_motion_takes_everything_along(seed: int) -> None:
    surface, points = drawn(300, seed), 1.5 * drawn(5000, seed + 10)
    rotation, shift = turn(seed), torch.tensor([0.3, -0.2, 0.1])
    found = carry_along(points, surface, surface @ rotation.T + shift)
    torch.testing.assert_close(found, points @ rotation.T + shift, atol=2e-5, rtol=0)


def test_a_flat_surface_is_turned_and_never_mirrored() -> None:
    surface = drawn(200, 0) * torch.tensor([1.0, 1.0, 0.0])
    points, rotation = drawn(50, 1), turn(3)
    found = carry_along(points, surface, surface @ rotation.T)
    torch.testing.assert_close(found, points @ rotation.T, atol=1e-5, rtol=0)


def test_each_point_by_itself() -> None:
    """Against a loop over points, and over neighbours, with NumPy."""
    before = drawn(400, 4)
    bent = before + 0.1 * torch.sin(4.0 * before.flip(1))
    points = drawn(40, 5)
    found = carry_along(points, before, bent)
    old, new = before.double().numpy(), bent.double().numpy()
    for point, answer in zip(points.double().numpy(), found.double().numpy(), strict=True):
        distance = np.linalg.norm(old - point, axis=1)
        chosen = np.argsort(distance)[:NEIGHBOURS]
        weight = 1.0 - distance[chosen] / (1.01 * distance[chosen].max())
        weight /= weight.sum()
        centre, target = weight @ old[chosen], weight @ new[chosen]
        spread = sum(
            share * np.outer(there - target, here - centre)
            for share, here, there in zip(weight, old[chosen], new[chosen], strict=True)
        )
        left, _, right = np.linalg.svd(spread)
        rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
        np.testing.assert_allclose(answer, rotation @ (point - centre) + target, atol=1e-5)


def test_parts_that_move_apart_take_their_own_points() -> None:
    left, right = 0.3 * drawn(200, 6) - 0.5, 0.3 * drawn(200, 7) + 0.5
    away = torch.tensor([0.0, 0.0, 0.4])
    surface = torch.cat([left, right])
    found = carry_along(surface[::7], surface, torch.cat([left, right + away]))
    expected = torch.where(surface[::7, :1] > 0.0, surface[::7] + away, surface[::7])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [2, 60])
def test_what_rests_on_a_line_leaves_points_beside_it_at_rest(count: int) -> None:
    """Paths on a line say nothing of the turn about it."""
    line = torch.linspace(-0.5, 0.5, count)[:, None] * torch.tensor([[0.6, 0.0, 0.8]])
    beside = line[torch.arange(200) % count] + 0.05 * drawn(200, 10)
    torch.testing.assert_close(carry_along(beside, line, line), beside, atol=1e-5, rtol=0)
    away = torch.tensor([0.1, 0.2, -0.1])
    found = carry_along(beside, line, line + away)
    torch.testing.assert_close(found, beside + away, atol=1e-5, rtol=0)


def test_few_paths_and_points_on_them() -> None:
    surface = drawn(2, 8)
    found = carry_along(surface, surface, surface + 0.25)
    torch.testing.assert_close(found, surface + 0.25, atol=1e-5, rtol=0)
    one = carry_along(drawn(3, 9), surface[:1], surface[:1] - 1.0)
    torch.testing.assert_close(one, drawn(3, 9) - 1.0, atol=1e-5, rtol=0)
