"""What moves of an inflated body: where its parts are at each moment, and its points."""

from typing import NamedTuple

import torch
from torch import Tensor

from mnvs.inflation.frustum import Frustum, Part, Volume
from mnvs.inflation.inflate import half_of, inflate
from mnvs.inflation.limbs import find_limbs
from mnvs.inflation.motion import Body, Joint, Source, limb_sources, moved, source_of, walks_on
from training_core.config import InputError


class Figure(NamedTuple):
    """A body at rest: in one piece, or as a trunk and limbs with a volume for each.

    Attributes:
        body: where it stands. whole: all of it in one piece.
        trunk: of it what is no limb. limbs, joints: in one order; both empty for one piece.
        own: bool [S, S], the pixels of each limb alone.
    """

    body: Body
    whole: Volume
    trunk: Volume
    limbs: list[Volume]
    joints: list[Joint]
    own: list[Tensor]


def make_figure(picture: Tensor, frustum: Frustum, thickness: float, *, limbs: bool) -> Figure:
    """The body of a picture, see ``inflate``, and what moves of it; without ``limbs`` it is in one
    piece.

    Raises:
        InputError: nothing of it is opaque at this size.
    """
    inside = picture[3] >= 0.5
    if not inside.any():
        raise InputError("what the picture shows is too thin to be inflated")
    whole = inflate(picture, frustum, thickness)
    body = _body(inside, frustum)
    found = find_limbs(inside) if limbs else []
    joints = [
        Joint(_world(limb.joint, frustum, len(inside)), limb.leg, limb.side, limb.raised)
        for limb in found
    ]
    if not walks_on(joints):
        return Figure(body, whole, whole, [], [], [])
    volumes = []
    for limb in found:
        # At its joint a limb is round and as thick as itself, so that it hides in the trunk.
        alone = inflate(picture * limb.part, frustum, thickness).density
        volumes.append(whole._replace(density=torch.where(limb.own, whole.density, alone)))
        volumes[-1] = volumes[-1]._replace(density=volumes[-1].density * limb.part)
    own = [limb.own for limb in found]
    rest = ~torch.stack(own).any(0)
    trunk = whole._replace(density=whole.density * rest)
    return Figure(body, whole, trunk, volumes, joints, own)


def parts_at(figure: Figure, motion: str, phase: float, strength: float) -> list[Part]:
    """Where the parts are at a phase of the motion; at rest they are one piece."""
    if not phase:
        return [Part(figure.whole)]
    trunk, *limbs = _sources(figure, motion, phase, strength)
    return [Part(figure.trunk, trunk), *map(Part, figure.limbs, limbs)]


def tracks(
    figure: Figure, frustum: Frustum, motion: str, phases: list[float], strength: float, count: int
) -> Tensor:
    """Paths [T, N, 3] of points of the body's surface, in front and at the back, over ``phases``.

    Args:
        count: of points, about; they lie evenly over the picture.
    """
    half = half_of(figure.whole)
    places = half.nonzero()
    spread = torch.linspace(0, len(places) - 1, max(min(count // 2, len(places)), 1)).round().long()
    rows, columns = places[spread].unbind(-1)
    picture = (torch.stack([columns, rows], dim=-1) + 0.5) / len(half)
    deep = half[rows, columns, None]
    rest = torch.cat([frustum.places(picture, -deep), frustum.places(picture, deep)])
    owners = torch.zeros(len(rows), dtype=torch.long)
    for number, own in enumerate(figure.own, start=1):
        owners[own[rows, columns]] = number
    owners = owners.repeat(2)
    paths = []
    for phase in phases:
        now = rest.clone()
        for number, source in enumerate(_sources(figure, motion, phase, strength)):
            now[owners == number] = moved(source, rest[owners == number])
        paths.append(now)
    return torch.stack(paths)


def _sources(figure: Figure, motion: str, phase: float, strength: float) -> list[Source]:
    """Of the trunk, or the whole, and of every limb, where at rest what is now there comes from."""
    if not figure.limbs:
        return [source_of(motion, figure.body, phase, strength)]
    trunk, limbs = limb_sources(figure.joints, figure.body, phase, strength)
    return [trunk, *limbs]


def _world(place: Tensor, frustum: Frustum, size: int) -> tuple[float, float, float]:
    """Where (x, y) in pixels of a picture of ``size`` lies on the plane through the origin."""
    x, y = ((place / size - frustum.centre) * size * frustum.pixel(size)).tolist()
    return (x, 0.0, -y)


def _body(inside: Tensor, frustum: Frustum) -> Body:
    """Where the object of a silhouette, bool [S, S], stands in the world."""
    shown = inside.nonzero()
    (top, left), (bottom, right) = shown.amin(0).tolist(), (shown.amax(0) + 1).tolist()
    corners = torch.tensor([[left, bottom], [right, top]]).float()
    (low_x, _, low_z), (high_x, _, high_z) = (_world(c, frustum, len(inside)) for c in corners)
    return Body(low_z, high_z, (high_x - low_x) / 2)
