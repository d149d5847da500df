"""Arms and legs in a silhouette: what no disc of a fair size can reach.

The trunk is the silhouette's opening by a disc (erosion, then dilation): head, belly and whatever
is about as thick. What is left over and stands out far enough is a limb; where it leaves the trunk
is its joint. Nothing is learned, so a tail may be taken for a leg; what does not look like an arm
or a leg stays with the trunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# In shares of the trunk's largest radius: that of the disc, the least length of a limb, and how far
# an arm reaches to the side.
_DISC, _LENGTH, _ASIDE = 0.6, 0.5, 0.3
# Shares of the height, from the top: a leg's tip is below the first, an arm's joint between the
# others.
_LOW, _SHOULDER, _HIP = 0.8, 0.28, 0.85
# Shares of the silhouette: what is smaller is a speck, what is larger several limbs in one piece.
_SMALLEST, _LARGEST = 0.005, 0.25


class Limb(NamedTuple):
    """One arm or leg.

    Attributes:
        part: bool [S, S], its pixels and those around its joint.
        own: bool [S, S], its pixels alone, which the trunk goes without.
        joint: [2], (x, y) in pixels.
        leg: whether it is one.
        side: -1 left in the picture, 1 right.
        raised: its tip is above its joint.
    """

    part: Tensor
    own: Tensor
    joint: Tensor
    leg: bool
    side: int
    raised: bool


def find_limbs(inside: Tensor) -> list[Limb]:
    """The limbs of a silhouette, bool [S, S]; from left to right."""
    if not inside.any():
        return []
    radius = _distance(inside, ~inside)
    largest = float(radius.max())
    if not largest:  # it fills the picture
        return []
    core = radius > _DISC * largest
    trunk = inside & (_distance(inside, core) <= _DISC * largest)
    rows, columns = inside.nonzero().unbind(-1)
    top, height = int(rows.min()), max(int(rows.max() - rows.min()), 1)
    middle = float(columns.float().mean())
    found = []
    for own in _pieces(inside & ~trunk):
        from_trunk = _distance(own, trunk)
        share = float(own.sum()) / float(inside.sum())
        if not _SMALLEST < share < _LARGEST or float(from_trunk.max()) < _LENGTH * largest:
            continue
        touching = own & (from_trunk <= 1.5)
        if not touching.any():
            continue
        joint = _mean_place(touching)
        tip = torch.tensor(divmod(int(from_trunk.argmax()), inside.shape[1])[::-1]).float()
        tip_share, joint_share = ((float(p[1]) - top) / height for p in (tip, joint))
        leg = tip_share > _LOW and bool(tip[1] > joint[1])
        outward = abs(float(tip[0]) - middle) - abs(float(joint[0]) - middle) > _ASIDE * largest
        if not leg and not (outward and _SHOULDER < joint_share < _HIP):
            continue
        near = (_places(inside) - joint).norm(dim=-1)
        reach = float((_places(inside)[touching] - joint).norm(dim=-1).max()) + 1.0
        side = 1 if tip[0] >= middle else -1
        part = own | (inside & (near <= reach))
        found.append(Limb(part, own, joint, leg, side, bool(tip[1] < joint[1])))
    return sorted(found, key=lambda limb: float(limb.joint[0]))


def _places(inside: Tensor) -> Tensor:
    """(x, y) of the middle of every pixel, [S, S, 2]."""
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in inside.shape), indexing="ij")
    return torch.stack([x, y], dim=-1)


def _mean_place(chosen: Tensor) -> Tensor:
    return _places(chosen)[chosen].mean(0)


def _distance(of: Tensor, to: Tensor) -> Tensor:
    """From the pixels ``of`` to the nearest of ``to``, in pixels, [S, S]; 0 elsewhere, and where
    there is nothing to be near to.
    """
    made = torch.zeros(of.shape)
    # Of what is asked for, only the border can be nearest from outside; one pixel more is around.
    wide = F.pad(to[None, None].float(), (1, 1, 1, 1), value=1.0)
    border = to & (-F.max_pool2d(-wide, 3, 1)[0, 0] < 0.5)
    if not border.any():
        return made
    places = _places(of)
    made[of] = torch.cdist(places[of], places[border]).amin(dim=1) * (~to[of])
    return made


def _pieces(inside: Tensor) -> list[Tensor]:
    """The connected pieces (with four neighbours) of bool [S, S], largest number first."""
    number = torch.arange(1, inside.numel() + 1).view(inside.shape).float() * inside
    cross = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.bool)
    offsets = cross.nonzero().sub(1).tolist()
    while True:
        padded = F.pad(number, (1, 1, 1, 1))
        size = inside.shape
        grown = (
            torch.stack(
                [padded[1 + y : 1 + y + size[0], 1 + x : 1 + x + size[1]] for y, x in offsets]
            ).amax(0)
            * inside
        )
        if torch.equal(grown, number):
            break
        number = grown
    return [number == value for value in number[inside].unique().tolist()[::-1]]
