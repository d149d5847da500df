"""Motions that any body can make: where a point of the moved body comes from.

They are not learned. Where arms and legs were found, walking swings them about their joints;
otherwise legs are what is low and beside the middle, arms what is beside the trunk. Each motion is
a chain of shears, turns and scalings, undone exactly in reverse order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MOTIONS = ("walk", "sway", "bounce", "swim", "none")
# How far limbs swing while walking; arms that are raised wave.
_LEG_DEG, _ARM_DEG, _WAVE_DEG = 26.0, 20.0, 14.0
# Length over height from which a body is seen from the side; of arms held out it is 1.
_LONG = 1.3
# World units within which a place is found.
_NEWTON_STEPS, _FOUND = 6, 1e-4

Source = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Joint:
    """Where a limb hangs.

    Attributes:
        place: [3], world units. leg: whether it is a leg's, or an arm's.
        side: -1 at negative x, 1 at positive. raised: the limb points up.
    """

    place: tuple[float, float, float]
    leg: bool
    side: int
    raised: bool


@dataclass(frozen=True)
class Body:
    """Where a body stands in the world: it looks along -Y, or along X where it is ``sideways``, up
    is +Z, its middle is at x = 0.

    Attributes:
        bottom, top: heights, world units. half_width: of its outline.
    """

    bottom: float
    top: float
    half_width: float

    @property
    def height(self) -> float:
        """World units."""
        return self.top - self.bottom

    @property
    def sideways(self) -> bool:
        """Whether it is so long that it must be an animal seen from the side."""
        return 2.0 * self.half_width > _LONG * self.height

    def share(self, z: Tensor) -> Tensor:
        """Of the height, 0 at the feet, 1 at the top."""
        return (z - self.bottom) / max(self.height, 1e-6)


def walks_on(joints: Sequence[Joint]) -> bool:
    """Whether there is a leg on both sides."""
    return {joint.side for joint in joints if joint.leg} == {-1, 1}


def limb_sources(
    joints: Sequence[Joint], body: Body, phase: float, strength: float
) -> tuple[Source, list[Source]]:
    """Walking on limbs: of the trunk, and of every limb, what ``source_of`` is of a whole body.

    Legs swing forward and back about the x axis, one against the other, arms against the legs; a
    raised arm waves about the depth axis. Of a body seen from the side all of them swing about the
    depth axis.
    """
    turn = 2.0 * math.pi * phase
    stride = 1 if body.sideways else 0
    lift = 0.02 * body.height * strength * (1.0 - math.cos(2.0 * turn)) / 2.0

    def trunk(points: Tensor) -> Tensor:
        return _unlifted(points, lift)

    def limb(joint: Joint) -> Source:
        if joint.leg:
            axis, angle = stride, math.radians(_LEG_DEG) * math.sin(turn) * joint.side
        elif joint.raised:
            axis, angle = 1, math.radians(_WAVE_DEG) * math.sin(2.0 * turn)
        else:
            axis, angle = stride, -math.radians(_ARM_DEG) * math.sin(turn) * joint.side
        return lambda points: _unrotated(trunk(points), joint.place, axis, strength * angle)

    return trunk, [limb(joint) for joint in joints]


def source_of(motion: str, body: Body, phase: float, strength: float) -> Source:
    """Points [..., 3] of the moved body → points of the body at rest.

    Args:
        motion: one of ``MOTIONS``. phase: of a loop, in [0, 1); at 0 the body is at rest.
        strength: 1 = as much as looks natural.
    """
    turn = 2.0 * math.pi * phase
    sine, dip = strength * math.sin(turn), strength * (1.0 - math.cos(2.0 * turn)) / 2.0

    def walk(points: Tensor) -> Tensor:
        return _unswung(_unlifted(points, 0.02 * body.height * dip), body, sine)

    def sway(points: Tensor) -> Tensor:
        bent = _unbent(points, body, 0.10 * body.height * sine)
        return _unturned(bent, body, math.radians(12.0) * sine)

    def bounce(points: Tensor) -> Tensor:
        hop = strength * (1.0 - math.cos(turn)) / 2.0
        squash = 1.0 - 0.12 * strength * math.sin(turn) ** 2 * math.cos(turn)
        return _unscaled(_unlifted(points, 0.08 * body.height * hop), body, squash)

    def swim(points: Tensor) -> Tensor:
        # A wave that runs along the depth, from the front to the tail.
        wave = torch.sin(turn - 6.0 * points[..., 1]) + torch.sin(6.0 * points[..., 1])
        x = points[..., 0] - 0.06 * strength * wave * (0.5 + points[..., 1])
        return torch.stack([x, points[..., 1], points[..., 2]], dim=-1)

    makers = {"walk": walk, "sway": sway, "bounce": bounce, "swim": swim}
    return makers.get(motion, lambda points: points)


def moved(source: Source, rest: Tensor) -> Tensor:
    """Where points [N, 3] of the body at rest are moved to: ``source`` inverted by Newton's method,
    which needs one step for turns and shears. Points that it does not find, where a motion of much
    strength nearly folds the body, stay.
    """
    places = rest.double()
    for _ in range(_NEWTON_STEPS):
        at = places.clone().requires_grad_()
        with torch.enable_grad():
            there = source(at)
            of = [torch.autograd.grad(c.sum(), at, retain_graph=True)[0] for c in there.unbind(-1)]
        off = (there - rest).detach()
        places = places - torch.linalg.solve_ex(torch.stack(of, dim=-2), off).result
    found = (source(places) - rest).norm(dim=-1, keepdim=True) < _FOUND
    return torch.where(found, places, rest.double()).to(rest)


def _unlifted(points: Tensor, height: float) -> Tensor:
    return points - points.new_tensor([0.0, 0.0, height])


def _unrotated(
    points: Tensor, about: tuple[float, float, float], axis: int, angle: float
) -> Tensor:
    """A rotation by ``angle`` about a line along x (axis 0) or y (axis 1) undone."""
    first, second = ((1, 2), (2, 0))[axis]
    moved = points - points.new_tensor(about)
    a, b = moved[..., first], moved[..., second]
    cos, sin = math.cos(angle), math.sin(angle)
    parts = list(moved.unbind(-1))
    parts[first], parts[second] = cos * a + sin * b, cos * b - sin * a
    return torch.stack(parts, dim=-1) + points.new_tensor(about)


def _unswung(points: Tensor, body: Body, swing: float) -> Tensor:
    """Legs swing forward and back, one against the other, and arms against the legs."""
    x, y, z = points.unbind(-1)
    share = body.share(z)
    # From the side, what is between hind legs and fore ones goes from one stride to the other.
    between = 0.5 if body.sideways else 0.15
    side = torch.tanh(x / (between * body.half_width + 1e-6))
    legs = (0.4 - share).clamp_min(0.0)
    outer = (x.abs() / (body.half_width + 1e-6) - 0.45).clamp_min(0.0)
    arms = outer * (share > 0.3) * (share < 0.85) * 0.5
    if body.sideways:
        return torch.stack([x + 0.4 * body.height * swing * side * legs, y, z], dim=-1)
    shift = body.height * swing * side * (0.3 * arms - 0.4 * legs)
    return torch.stack([x, y - shift, z], dim=-1)


def _unbent(points: Tensor, body: Body, amount: float) -> Tensor:
    """The top moves aside by ``amount``, the feet stay."""
    x, y, z = points.unbind(-1)
    return torch.stack([x - amount * body.share(z).clamp_min(0.0).square(), y, z], dim=-1)


def _unturned(points: Tensor, body: Body, angle: float) -> Tensor:
    """The top turns by ``angle`` about the vertical, the feet stay."""
    x, y, z = points.unbind(-1)
    turned = -angle * body.share(z).clamp(0.0, 1.0)
    cos, sin = turned.cos(), turned.sin()
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)


def _unscaled(points: Tensor, body: Body, tall: float) -> Tensor:
    """Taller by a factor from the feet up, and thinner so that the volume stays."""
    x, y, z = points.unbind(-1)
    wide = 1.0 / math.sqrt(tall)
    return torch.stack([x / wide, y / wide, (z - body.bottom) / tall + body.bottom], dim=-1)
