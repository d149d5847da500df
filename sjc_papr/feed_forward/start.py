"""Points to start from, out of the depths of a few views.

Every pixel becomes a point; points that other views contradict are dropped, and where no view saw
anything, what is left of the visual hull fills in.
"""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera
from sjc_papr.data.eyes import Eye
from sjc_papr.feed_forward.geometry import COVERED, lift
from sjc_papr.feed_forward.guess import Guess

logger = logging.getLogger(__name__)

# How far, in expected errors and never less than in world units, a point may lie in front of what
# another view sees there before the two contradict each other.
_ERRORS_APART = 2.0
_LEAST_APART = 0.02


def consistent_points(views: Views, guess: Guess) -> tuple[Tensor, Tensor]:
    """The points of all pixels that no other view contradicts.

    A view contradicts a point that falls on its background, and one that floats in front of the
    surface it sees there, if it is surer of that surface than the point's own view is of the point.

    Returns:
        Points [N, 3], world units, and their expected error [N].
    """
    eyes = [Eye.of(camera) for camera in views.cameras]
    lifted = lift(guess.depth, views.cameras)
    points, errors = [], []
    for view in range(len(views)):
        shown = guess.depth[view] > 0
        own, error = lifted[view][shown], guess.error[view][shown]
        keep = torch.ones(len(own), dtype=torch.bool)
        for other, eye in enumerate(eyes):
            if other == view:
                continue
            keep &= eye.look_up(views.images[other, ..., 3], own, 1.0) > COVERED
            keep &= ~_floats(own, error, eye, guess, other)
        points.append(own[keep])
        errors.append(error[keep])
    return torch.cat(points), torch.cat(errors)


def _floats(points: Tensor, error: Tensor, eye: Eye, guess: Guess, view: int) -> Tensor:
    """Bool [N]: points in front of what a surer view sees there."""
    surface = eye.look_up(guess.depth[view], points, 0.0)
    theirs = eye.look_up(guess.error[view], points, 0.0)
    _, depth = eye.project(points)
    apart = (_ERRORS_APART * (error + theirs)).clamp_min(_LEAST_APART)
    return (surface > 0) & (depth < surface - apart) & (theirs < error)


def carve_by_depth(points: Tensor, cameras: Sequence[Camera], guess: Guess) -> Tensor:
    """Bool [N]: which points of the hull lie behind (or on) what every view sees there."""
    solid = torch.ones(len(points), dtype=torch.bool)
    for view, camera in enumerate(cameras):
        eye = Eye.of(camera)
        surface = eye.look_up(guess.depth[view], points, 0.0)
        error = eye.look_up(guess.error[view], points, 0.0)
        _, depth = eye.project(points)
        apart = (_ERRORS_APART * error).clamp_min(_LEAST_APART)
        solid &= ~((surface > 0) & (depth < surface - apart))
    return solid


def far_from(points: Tensor, others: Tensor, distance: float) -> Tensor:
    """Bool [N]: points [N, 3] with none of ``others`` [M, 3] within ``distance``."""
    if not len(others):
        return torch.ones(len(points), dtype=torch.bool)
    nearest = [torch.cdist(part, others).amin(dim=1) for part in points.split(1024)]
    return torch.cat(nearest) > distance if nearest else torch.zeros(0, dtype=torch.bool)


def evenly(
    points: Tensor, count: int, generator: torch.Generator, error: Tensor | None = None
) -> Tensor:
    """``count`` of the points [N, 3], as evenly over space as cells of one size can tell.

    A point is taken from every cell in turn until there are enough, so that a part which many views
    saw does not take the points of one that few did. Points repeat only where N < count.

    Args:
        error: expected, [N]; a cell's surest points are taken first. None = by lot.
    """
    if len(points) == 0:
        return points
    order = torch.randperm(len(points), generator=generator)
    if error is not None:
        order = order[torch.argsort(error[order], stable=True)]
    points = points[order]
    # About as many cells hold points as points are wanted.
    size, cells = _cell_size(points, count)
    key = _cells(points, size)
    rank = _rank_within(key)
    chosen = torch.argsort(rank, stable=True)
    while len(chosen) < count:
        chosen = torch.cat([chosen, chosen])
    logger.debug("%d cells of %.4f units", cells, size)
    return points[chosen[:count]]


def _cell_size(points: Tensor, count: int) -> tuple[float, int]:
    """The largest of a row of sizes whose cells give at least ``count``, or the smallest."""
    extent = float((points.amax(0) - points.amin(0)).amax().clamp_min(1e-6))
    for split in range(8, 257, 8):
        found = len(torch.unique(_cells(points, extent / split)))
        if found >= count:
            break
    return extent / split, found


def _cells(points: Tensor, size: float) -> Tensor:
    """A number [N] for the cell of each point."""
    cell = torch.floor((points - points.amin(0)) / size).long()
    span = cell.amax(0) + 1
    return (cell[:, 0] * span[1] + cell[:, 1]) * span[2] + cell[:, 2]


def _rank_within(key: Tensor) -> Tensor:
    """How many earlier entries have the same key, [N]."""
    order = torch.argsort(key, stable=True)
    ordered = key[order]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    place = torch.arange(len(key))
    start = torch.cummax(torch.where(first, place, 0), dim=0).values
    rank = torch.empty_like(place)
    rank[order] = place - start
    return rank
