"""How far the outlines of a few pictures are from being those of one object.

A point that one picture shows lies on its ray, and every other picture must cover some point of
that ray: what all of them cover is the visual hull. A ray's gap is the number of pixels that its
best point still lacks to the outline that covers it least.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera
from blender_render.imaging.resize import area_resize
from sjc_papr.data.eyes import Eye

# Outlines are compared in pictures of at most this side, in pixels of these.
_SIDE = 128
# Points of a ray, on its way through the object, that are looked up in the other pictures.
_DEPTHS = 64
LOOKUPS = 2_500_000
# Rays are taken from so many pixels outside the outline to so many inside it.
_OUTSIDE, _INSIDE = 8.0, 16.0
# What pixels can tell: gaps below are none, and those above count no more.
_SLACK, _LARGEST = 0.5, 10.0
# Over how many pixels a ray fades in at the outline of its own picture.
_SOFT = 0.7


class Limit(NamedTuple):
    """What limits how well the rays of a view are covered: a point of each, [R, 2] pixels from the
    middle of the picture that covers it least, and which picture that is, [R].
    """

    point: Tensor
    which: Tensor


class OutlineGaps:
    """How far the outlines of some pictures are from being those of one object.

    Args:
        alpha: [V, H, W] in [0, 1]. cameras: V, of the object around the origin.
        lookups: points that are looked up in a step, about; rays are left out beyond that.

    Attributes:
        pixels: of each view, the rays whose cover is asked for, [R, 2], pixels from the middle.
        along: of each view, T points of each ray as the V - 1 others see them, column and row, [V -
            1, 2, R, T] likewise.
    """

    def __init__(self, alpha: Tensor, cameras: Sequence[Camera], lookups: int = LOOKUPS) -> None:
        height, width = alpha.shape[1:]
        scale = min(1.0, _SIDE / max(height, width))
        self.width, self.height = round(width * scale), round(height * scale)
        small = [area_resize(a[..., None], self.width, self.height)[..., 0] for a in alpha]
        self.distance = torch.stack([signed_distance(own) for own in small])
        self.eyes = [Eye.of(camera.resized(self.width, self.height)) for camera in cameras]
        self.middle = torch.tensor([self.width / 2.0, self.height / 2.0])
        self.pixels: list[Tensor] = []
        self.along: list[Tensor] = []
        self._lay_rays(lookups)

    def __call__(self, placement: Tensor, limits: list[Limit] | None = None) -> Tensor:
        """Mean over rays of the pixels by which the other pictures fail to cover a shown one.

        Args:
            placement: shift in pixels and zoom in pixels at the rim, [V, 3].
            limits: of a placement near this one, to save seeking them; None = of this one.
        """
        lack, weight = torch.zeros(()), torch.zeros(())
        for view, limit in enumerate(limits or self.limits(placement)):
            shown = torch.sigmoid(self._look_up(self.pixels[view], view, placement) / _SOFT)
            missing = (-self.covered(limit, placement) - _SLACK).clamp(0.0, _LARGEST)
            lack, weight = lack + (shown * missing).sum(), weight + shown.detach().sum()
        return lack / weight.clamp_min(1.0)

    @torch.no_grad()
    def limits(self, placement: Tensor) -> list[Limit]:
        """Of every view's rays: the point that the others cover best, and the outline that covers
        it least; looked up at whole pixels, without gradient.
        """
        return [self._limit(view, placement) for view in range(len(self.eyes))]

    def covered(self, limit: Limit, placement: Tensor) -> Tensor:
        """Signed distance [R] to the outlines that limit a view's rays."""
        covered = torch.zeros(len(limit.which))
        for other in range(len(self.eyes)):
            mine = limit.which == other
            covered = covered.index_put((mine,), self._look_up(limit.point[mine], other, placement))
        return covered

    def without_common(self, placement: Tensor) -> Tensor:
        """The part of ``placement`` that no shift and no size of the object itself explains."""
        rows = []
        for eye in self.eyes:
            far = eye.origin.norm()
            across = (
                (eye.focal / far)[:, None] * eye.rotation[:2] * eye.focal.new_tensor([[1], [-1]])
            )
            nearer = self.rim * eye.origin / far**2
            moved = torch.cat([across, nearer[None]])
            rows.append(torch.cat([moved, moved.new_tensor([[0.0], [0.0], [self.rim]])], dim=1))
        common = torch.cat(rows).to(placement)
        flat = placement.reshape(-1, 1)
        fitted = common @ torch.linalg.lstsq(common, flat).solution
        return (flat - fitted).reshape(placement.shape)

    @property
    def rim(self) -> float:
        """Pixels from the middle at which a zoom is told as a shift."""
        return 0.3 * self.width

    def _others(self, view: int) -> list[int]:
        return [other for other in range(len(self.eyes)) if other != view]

    def _lay_rays(self, lookups: int) -> None:
        """Fill ``pixels`` and ``along`` with the rays near the outlines."""
        near = (self.distance > -_OUTSIDE) & (self.distance < _INSIDE)
        every = max(1, round(int(near.sum()) * _DEPTHS * (len(self.eyes) - 1) / lookups))
        reach = reach_of(self.eyes, self.distance > 0)
        for view, eye in enumerate(self.eyes):
            rows, columns = (index[::every] for index in near[view].nonzero().unbind(1))
            far = float(eye.origin.norm())
            depths = torch.linspace(max(far - reach, 1e-3), far + reach, _DEPTHS)
            points = eye.origin + depths[:, None] * eye.toward[rows, columns][:, None]
            seen = [self.eyes[other].project(points)[0] for other in self._others(view)]
            self.pixels.append(torch.stack([columns, rows], -1) + 0.5 - self.middle)
            columns_and_rows = [(place - self.middle).movedim(-1, 0) for place in seen]
            self.along.append(torch.stack(columns_and_rows).contiguous())

    def _limit(self, view: int, placement: Tensor) -> Limit:
        along = self.along[view]
        least = along.new_full(along.shape[2:], torch.inf)
        which = torch.zeros(least.shape, dtype=torch.long)
        for number, other in enumerate(self._others(view)):
            own = self._nearest(along[number], other, placement)
            which = torch.where(own < least, number, which)
            least = torch.minimum(own, least)
        best = least.argmax(dim=1, keepdim=True)
        limiting = which.gather(1, best)[:, 0]
        point = along[limiting, :, torch.arange(len(best)), best[:, 0]]
        return Limit(point, torch.tensor(self._others(view))[limiting])

    def _nearest(self, places: Tensor, view: int, placement: Tensor) -> Tensor:
        """Signed distance [R, T] in a picture at the pixels that hold ``places`` [2, R, T]."""
        zoom = (placement[view, 2] / self.rim).exp()
        column, row = (
            torch.add(middle + shift, own * zoom).clamp_(0, size - 1).long()
            for own, shift, middle, size in zip(
                places,
                placement[view, :2],
                self.middle,
                (self.width, self.height),
                strict=True,
            )
        )
        return self.distance[view].flatten()[row.mul_(self.width).add_(column)]

    def _look_up(self, points: Tensor, view: int, placement: Tensor) -> Tensor:
        """Signed distance [R] in a picture at points [R, 2], between its pixels."""
        zoom = (placement[view, 2] / self.rim).exp()
        grid = (points * zoom + placement[view, :2]) / self.middle
        found = F.grid_sample(
            self.distance[view][None, None],
            grid[None, None],
            padding_mode="border",
            align_corners=False,
        )
        return found[0, 0, 0]


def signed_distance(alpha: Tensor) -> Tensor:
    """Pixels to the outline of alpha [H, W]: positive inside, where it is 0.5 or more, negative
    outside.
    """
    inside = alpha >= 0.5
    if inside.all() or not inside.any():
        return torch.full_like(alpha, float(max(alpha.shape)) * (1.0 if inside.any() else -1.0))
    distance = torch.zeros_like(alpha)
    for mask, sign in ((inside, 1.0), (~inside, -1.0)):
        touching = F.max_pool2d(mask.float()[None], 3, 1, 1)[0] > 0
        rim = (touching & ~mask).nonzero().float()
        parts = mask.nonzero().float().split(2048)
        distance[mask] = sign * (torch.cat([torch.cdist(p, rim).amin(1) for p in parts]) - 0.5)
    return distance


def reach_of(eyes: Sequence[Eye], shown: Tensor) -> float:
    """Distance from the origin, world units, within which the object lies whose pixels are
    ``shown``, bool [V, H, W]; 0 where none is.
    """
    farthest = 0.0
    for eye, own in zip(eyes, shown, strict=True):
        if own.any():
            rays = F.normalize(eye.toward[own], dim=-1)
            passing = eye.origin - (rays @ eye.origin)[:, None] * rays
            farthest = max(farthest, float(passing.norm(dim=-1).max()))
    # The rays that pass farthest out may hold points that lie farther still, along them.
    return 1.3 * farthest
