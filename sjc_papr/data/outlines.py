"""Training pictures whose outlines do not agree with each other, moved until they do.

A point that one picture shows lies on its ray, and every other picture must cover some point of
that ray: the rays' points that all of them cover are the visual hull. Where a picture is a few
pixels off, parts of every outline are left uncovered, by how much says a signed distance. Each
picture's shift and size are sought that leave the least of it. Renders of one object leave next to
nothing, and are not touched.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera
from blender_render.imaging.resize import area_resize
from sjc_papr.data.eyes import Eye

logger = logging.getLogger(__name__)

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
_STEPS, _RATE, _LAST_RATE = 61, 0.3, 0.01
# Steps between two searches of what limits the rays, which take most of the time.
_SEEK_EVERY = 3
# Mean gap in pixels from which pictures are moved. Renders of one object have 0.01 to 0.05, those
# moved by 2 to 5 pixels 0.17 to 0.9 (docs/few_views.md).
WORTH_MOVING = 0.1


class Placement(NamedTuple):
    """How pictures stand against where they should: what belongs at ``q``, pixels from the middle
    of a picture, is shown at ``exp(zoom) q + shift``.

    Attributes:
        shift: [V, 2], in picture widths, to the right and down. zoom: [V].
        gap: mean gap between the outlines, in pixels of a picture of at most 128, where the
            pictures stand so. gap_before: likewise, as they are.
    """

    shift: Tensor
    zoom: Tensor
    gap: float
    gap_before: float


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
    """

    def __init__(self, alpha: Tensor, cameras: Sequence[Camera], lookups: int = LOOKUPS) -> None:
        height, width = alpha.shape[1:]
        scale = min(1.0, _SIDE / max(height, width))
        self.width, self.height = round(width * scale), round(height * scale)
        small = [area_resize(a[..., None], self.width, self.height)[..., 0] for a in alpha]
        self.distance = torch.stack([signed_distance(own) for own in small])
        self.eyes = [Eye.of(camera.resized(self.width, self.height)) for camera in cameras]
        self.middle = torch.tensor([self.width / 2.0, self.height / 2.0])
        self._pixels: list[Tensor] = []
        self._along: list[Tensor] = []
        self._lay_rays(lookups)

    def __call__(self, placement: Tensor, limits: list[Limit] | None = None) -> Tensor:
        """Mean over rays of the pixels by which the other pictures fail to cover a shown one.

        Args:
            placement: shift in pixels and zoom in pixels at the rim, [V, 3].
            limits: of a placement near this one, to save seeking them; None = of this one.
        """
        lack, weight = torch.zeros(()), torch.zeros(())
        for view, limit in enumerate(limits or self.limits(placement)):
            shown = torch.sigmoid(self._look_up(self._pixels[view], view, placement) / _SOFT)
            missing = (-self.covered(limit, placement) - _SLACK).clamp(0.0, _LARGEST)
            lack, weight = lack + (shown * missing).sum(), weight + shown.detach().sum()
        return lack / weight.clamp_min(1.0)

    @torch.no_grad()
    def limits(self, placement: Tensor) -> list[Limit]:
        """Of every view's rays: the point that the others cover best, and the outline that covers
        it least. Between whole pixels, nothing is told apart here.
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
        """Pixels near the outlines, [R, 2] from the middle, and the points of their rays as the
        others see them, [R, T, V - 1, 2] likewise."""
        near = (self.distance > -_OUTSIDE) & (self.distance < _INSIDE)
        every = max(1, round(int(near.sum()) * _DEPTHS * (len(self.eyes) - 1) / lookups))
        reach = 1.3 * max(self._farthest(view) for view in range(len(self.eyes)))
        for view, eye in enumerate(self.eyes):
            rows, columns = (index[::every] for index in near[view].nonzero().unbind(1))
            far = float(eye.origin.norm())
            depths = torch.linspace(max(far - reach, 1e-3), far + reach, _DEPTHS)
            points = eye.origin + depths[:, None] * eye.toward[rows, columns][:, None]
            seen = [self.eyes[other].project(points)[0] for other in self._others(view)]
            self._pixels.append(torch.stack([columns, rows], -1) + 0.5 - self.middle)
            self._along.append(torch.stack(seen, dim=2) - self.middle)

    def _farthest(self, view: int) -> float:
        """Greatest distance from the origin at which a ray that shows the object passes it."""
        eye = self.eyes[view]
        rays = F.normalize(eye.toward[self.distance[view] > 0], dim=-1)
        passing = eye.origin - (rays @ eye.origin)[:, None] * rays
        return float(passing.norm(dim=-1).max()) if len(rays) else 0.0

    def _limit(self, view: int, placement: Tensor) -> Limit:
        along = self._along[view]
        least = along.new_full(along.shape[:2], torch.inf)
        which = torch.zeros(along.shape[:2], dtype=torch.long)
        for number, other in enumerate(self._others(view)):
            own = self._nearest(along[:, :, number], other, placement)
            which = torch.where(own < least, number, which)
            least = torch.minimum(own, least)
        best = least.argmax(dim=1, keepdim=True)
        limiting = which.gather(1, best)[:, 0]
        point = along[torch.arange(len(along)), best[:, 0], limiting]
        return Limit(point, torch.tensor(self._others(view))[limiting])

    def _placed(self, points: Tensor, view: int, placement: Tensor) -> Tensor:
        shift, zoom = placement[view, :2], placement[view, 2] / self.rim
        return points * zoom.exp() + shift + self.middle

    def _nearest(self, points: Tensor, view: int, placement: Tensor) -> Tensor:
        column, row = self._placed(points, view, placement).unbind(-1)
        column = column.clamp(0, self.width - 1).long()
        row = row.clamp(0, self.height - 1).long()
        return self.distance[view].flatten()[row * self.width + column]

    def _look_up(self, points: Tensor, view: int, placement: Tensor) -> Tensor:
        """Signed distance [R] in a picture at points [R, 2], between its pixels."""
        grid = self._placed(points, view, placement) / self.middle - 1.0
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


def find_placement(alpha: Tensor, cameras: Sequence[Camera], lookups: int = LOOKUPS) -> Placement:
    """How the pictures stand; nothing is sought where they agree as they are.

    A shift or size that all have in common cannot be told from the object's, and is left.

    Args:
        alpha, cameras, lookups: see ``OutlineGaps``.
    """
    gaps = OutlineGaps(alpha, cameras, lookups)
    found = torch.zeros(len(cameras), 3, requires_grad=True)
    with torch.no_grad():
        before = float(gaps(found))
    best, least, limits = found.detach().clone(), before, None
    if before >= WORTH_MOVING:
        optimizer = torch.optim.Adam([found], _RATE)
        for step in range(_STEPS):
            optimizer.param_groups[0]["lr"] = _RATE * (1.0 - step / _STEPS) + _LAST_RATE
            anew = step % _SEEK_EVERY == 0
            limits = gaps.limits(found) if anew else limits
            gap = gaps(found, limits)
            if anew and gap.item() < least:
                best, least = found.detach().clone(), gap.item()
            optimizer.zero_grad()
            gap.backward()
            optimizer.step()
        # In float64, because LAPACK's last digits depend on where numbers lie in memory, and a run
        # that is continued must find the same.
        best = gaps.without_common(best.double()).float()
    return Placement(best[:, :2] / gaps.width, best[:, 2] / gaps.rim, least, before)


def moved_back(views: Views, placement: Placement) -> Views:
    """The pictures where they should be, resampled; the cameras stay."""
    _, height, width, _ = views.images.shape
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    middle = torch.tensor([width / 2.0, height / 2.0])
    zoom = placement.zoom.exp()[:, None, None, None]
    shown = (pixels - middle) * zoom + (placement.shift * width)[:, None, None] + middle
    grid = shown / middle - 1.0
    colours, alpha = views.images[..., :3], views.images[..., 3:]
    premultiplied = torch.cat([colours * alpha, alpha], dim=-1).permute(0, 3, 1, 2)
    found = F.grid_sample(premultiplied, grid, mode="bicubic", align_corners=False)
    found = found.permute(0, 2, 3, 1).clamp(0.0, 1.0)
    colours = torch.where(found[..., 3:] > 0, found[..., :3] / found[..., 3:].clamp_min(1e-6), 0.0)
    depth = None
    if views.depth is not None:
        depth = F.grid_sample(views.depth[:, None], grid, mode="nearest", align_corners=False)[:, 0]
    images = torch.cat([colours.clamp(0.0, 1.0), found[..., 3:]], dim=-1)
    return replace(views, images=images, depth=depth)


def with_agreeing_outlines(views: Views) -> Views:
    """The views, moved where their outlines do not agree; the same object where they do."""
    placement = find_placement(views.images[..., 3], views.cameras)
    if placement.gap_before < WORTH_MOVING:
        return views
    lengths = (placement.shift * views.images.shape[2]).norm(dim=1)
    logger.info(
        "outlines did not agree: pictures moved by %s pixels, resized by %s; gap %.2f -> %.2f",
        ", ".join(f"{length:.1f}" for length in lengths),
        ", ".join(f"{100 * (-zoom).exp() - 100:+.1f} %" for zoom in placement.zoom),
        placement.gap_before,
        placement.gap,
    )
    return moved_back(views, placement)
