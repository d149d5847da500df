"""Clouds carried by nodes, against loops and motions whose answer is known."""

import math

import pytest
import torch
from torch import Tensor

from animate_papr.following.node_graph import (
    CARRIERS,
    EDGES,
    NodeGraph,
    farthest_points,
)
from sjc_papr.networks.rays import rotations


def drawn(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 0.5


def turns(count: int, seed: int) -> Tensor:
    return rotations(2.0 * drawn(count, seed))


def everything(points: Tensor) -> Tensor:
    return torch.arange(len(points))


def test_a_quarter_about_each_axis() -> None:
    quarter = rotations(0.5 * math.pi * torch.eye(3))
    x, y, z = torch.eye(3)
    for turned, expected in [
        (y @ quarter[0], z),
        (z @ quarter[1], x),
        (x @ quarter[2], y),
    ]:
        torch.testing.assert_close(turned, expected, atol=1e-6, rtol=0)


def test_rotations_equal_the_matrix_exponential() -> None:
    vectors = 3.0 * drawn(50, 0).double()
    for vector, found in zip(vectors, rotations(vectors), strict=True):
        x, y, z = vector.tolist()
        rows = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
        cross = torch.tensor(rows, dtype=torch.float64)
        torch.testing.assert_close(found, torch.linalg.matrix_exp(cross), atol=1e-9, rtol=0)


def test_no_turn_has_a_gradient() -> None:
    still = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(rotations(still)[0], torch.eye(3, dtype=torch.float64))
    (rotations(still)[0, 0, 1]).backward()
    torch.testing.assert_close(still.grad, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))
    bent = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations, (bent,))


def test_farthest_points_by_a_loop() -> None:
    points = drawn(60, 1)
    found = farthest_points(points, 8).tolist()
    chosen = [0]
    while len(chosen) < 8:
        gaps = [min(float((p - points[c]).norm()) for c in chosen) for p in points]
        chosen.append(gaps.index(max(gaps)))
    assert found == chosen
    assert sorted(farthest_points(points, 100).tolist()) == list(range(60))


def test_nodes_that_all_move_alike_carry_rigidly() -> None:
    rest = drawn(300, 2)
    rotation, shift = turns(1, 3), torch.tensor([0.3, -0.1, 0.2])
    graph = NodeGraph(rest, rest, 20)
    shifts = graph.start @ rotation[0] + shift - graph.start
    alike = rotation.expand(20, 3, 3)
    found = graph.carry(alike, shifts, everything(rest))
    torch.testing.assert_close(found, rest @ rotation[0] + shift, atol=1e-5, rtol=0)
    assert graph.stretch(alike, shifts) < 1e-9


def test_the_rest_shape_is_kept_however_it_is_turned_before() -> None:
    """What was turned since the first frame is not stretched; what was shrunk since is."""
    rest, rotation = drawn(300, 4), turns(1, 5)[0]
    still, none = torch.eye(3).expand(15, 3, 3), torch.zeros(15, 3)
    turned = NodeGraph(rest, rest @ rotation + 0.5, 15)
    assert turned.stretch(still, none) < 1e-8
    torch.testing.assert_close(
        turned.carry(still, none, everything(rest)), rest @ rotation + 0.5, atol=1e-6, rtol=0
    )
    shrunk = NodeGraph(rest, 0.5 * rest, 15)
    assert shrunk.stretch(still, none) > 0.02


def test_carry_and_stretch_equal_loops() -> None:
    rest, count = drawn(80, 6), 12
    before = rest + 0.02 * drawn(80, 7)
    graph = NodeGraph(rest, before, count)
    turned, shifts = turns(count, 8), 0.2 * drawn(count, 9)
    nodes = rest[farthest_points(rest, count)]
    now = graph.start + shifts
    chosen = torch.tensor([3, 50, 7])
    for point, found in zip(chosen.tolist(), graph.carry(turned, shifts, chosen), strict=True):
        distance = (nodes - rest[point]).norm(dim=1)
        nearest = distance.argsort()[:CARRIERS].tolist()
        weight = [1.0 - float(distance[n] / (1.01 * distance[nearest[-1]])) for n in nearest]
        expected = torch.zeros(3)
        for share, n in zip(weight, nearest, strict=True):
            there = (before[point] - graph.start[n]) @ turned[n] + now[n]
            expected += share / sum(weight) * there
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    squares, lengths = [], []
    for n in range(count):
        for other in (nodes - nodes[n]).norm(dim=1).argsort()[1 : EDGES + 1].tolist():
            edge = nodes[other] - nodes[n]
            off = now[other] - now[n] - edge @ graph.turned[n] @ turned[n]
            squares.append(float(off.square().sum()))
            lengths.append(float(edge.square().sum()))
    unit = sum(lengths) / len(lengths)
    expected = sum(0.25 * math.log(1.0 + s / unit / 0.25) for s in squares) / len(squares)
    assert graph.stretch(turned, shifts).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_points_are_carried_too(count: int) -> None:
    points = drawn(count, 10)
    graph = NodeGraph(points, points, 250)
    shifts = torch.full((count, 3), 0.1)
    found = graph.carry(torch.eye(3).expand(count, 3, 3), shifts, everything(points))
    torch.testing.assert_close(found, points + 0.1, atol=1e-6, rtol=0)
    assert graph.stretch(torch.eye(3).expand(count, 3, 3), shifts).isfinite()


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="rest shape"):
        NodeGraph(drawn(5, 0), drawn(6, 0), 3)
