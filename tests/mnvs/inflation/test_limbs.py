"""Arms and legs of drawn figures: which there are, where their joints are, how they swing."""

import math

import pytest
import torch
from torch import Tensor

from mnvs.inflation.limbs import _distance, _pieces, find_limbs
from mnvs.inflation.motion import Body, Joint, limb_sources, walks_on

SIZE = 64


def capsule(start: tuple[float, float], end: tuple[float, float], radius: float) -> Tensor:
    """Pixels within ``radius`` of a line from (x, y) to (x, y)."""
    y, x = torch.meshgrid(*(torch.arange(SIZE) + 0.5 for _ in range(2)), indexing="ij")
    place = torch.stack([x, y], dim=-1)
    a, b = torch.tensor(start).float(), torch.tensor(end).float()
    along = ((place - a) @ (b - a) / (b - a).square().sum().clamp_min(1e-6)).clamp(0.0, 1.0)
    return (place - (a + along[..., None] * (b - a))).norm(dim=-1) <= radius


def figure(arm_end: tuple[float, float] = (58.0, 44.0)) -> Tensor:
    """A head and a belly, a raised left arm, a right arm, two legs."""
    parts = [
        capsule((32, 14), (32, 14), 9.0),
        capsule((32, 24), (32, 36), 9.0),
        capsule((26, 26), (8, 14), 3.0),
        capsule((38, 26), arm_end, 3.0),
        capsule((27, 42), (24, 60), 3.0),
        capsule((37, 42), (40, 60), 3.0),
    ]
    return torch.stack(parts).any(0)


def test_two_arms_and_two_legs() -> None:
    found = find_limbs(figure())
    assert [(limb.leg, limb.side, limb.raised) for limb in found] == [
        (False, -1, True),
        (True, -1, False),
        (True, 1, False),
        (False, 1, False),
    ]
    for limb, joint in zip(found, [(22, 23), (26, 46), (38, 46), (42, 29)], strict=True):
        assert (limb.joint - torch.tensor(joint)).norm() < 5.0
        assert (limb.own & ~limb.part).sum() == 0 and (limb.part & ~figure()).sum() == 0
    # No pixel is of two limbs, and the hand is the arm's.
    assert torch.stack([limb.own for limb in found]).sum(0).max() == 1
    assert found[3].own[44, 57] and not found[3].own[30, 32]


@pytest.mark.parametrize(
    "inside",
    [
        capsule((32, 32), (32, 32), 20.0),
        torch.zeros(SIZE, SIZE, dtype=torch.bool),
        torch.ones(SIZE, SIZE, dtype=torch.bool),
    ],
    ids=["ball", "nothing", "everything"],
)
def test_what_has_no_limbs(inside: Tensor) -> None:
    assert find_limbs(inside) == []


def test_an_arm_along_the_trunk_belongs_to_it() -> None:
    found = find_limbs(figure(arm_end=(42.0, 40.0)))
    assert [limb.leg for limb in found if limb.side == 1] == [True]


def test_distances_and_pieces_against_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    of = torch.rand(9, 11, generator=generator) > 0.5
    to = torch.rand(9, 11, generator=generator) > 0.8
    found = _distance(of, to)
    for y, x in of.nonzero().tolist():
        near = [math.dist((y, x), place) for place in to.nonzero().tolist()]
        assert math.isclose(float(found[y, x]), min(near), abs_tol=1e-5)
    assert not found[~of].any()
    left, pieces = {tuple(place) for place in of.nonzero().tolist()}, []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            piece.add((y, x))
            for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if other in left:
                    left.remove(other)
                    edge.append(other)
        pieces.append(piece)
    as_sets = [{tuple(place) for place in piece.nonzero().tolist()} for piece in _pieces(of)]
    assert sorted(map(sorted, as_sets)) == sorted(map(sorted, pieces))


BODY = Body(-0.4, 0.4, 0.2)
JOINTS = [
    Joint((-0.1, 0.0, -0.1), leg=True, side=-1, raised=False),
    Joint((0.1, 0.0, -0.1), leg=True, side=1, raised=False),
    Joint((0.2, 0.0, 0.1), leg=False, side=1, raised=True),
]


def test_limbs_turn_about_their_joints_and_come_round() -> None:
    assert walks_on(JOINTS) and not walks_on(JOINTS[1:])
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    for phase, at_rest in ((0.0, True), (1.0, True), (0.2, False)):
        trunk, limbs = limb_sources(JOINTS, BODY, phase, 1.0)
        for joint, source in zip(JOINTS, limbs, strict=True):
            moved = source(points)
            assert torch.allclose(moved, points, atol=1e-5) == at_rest
            # Rigid, and the joint goes where the trunk goes.
            apart = (points[1:] - points[:-1]).norm(dim=-1)
            torch.testing.assert_close((moved[1:] - moved[:-1]).norm(dim=-1), apart)
            place = torch.tensor([joint.place])
            lifted = 2.0 * place - trunk(place)
            torch.testing.assert_close(source(lifted), place)


def test_legs_swing_in_depth_against_each_other_and_a_raised_arm_waves() -> None:
    _, (left, right, arm) = limb_sources(JOINTS, BODY, 0.125, 1.0)
    feet = torch.tensor([[-0.1, 0.0, -0.4], [0.1, 0.0, -0.4]])
    swung = left(feet[:1])[0, 1], right(feet[1:])[0, 1]
    assert swung[0] * swung[1] < 0 and abs(float(swung[0])) > 0.05
    hand = torch.tensor([[0.3, 0.0, 0.3]])
    assert abs(float(arm(hand)[0, 1])) < 1e-6 and abs(float((arm(hand) - hand)[0, 0])) > 0.02
