"""Find how the object moved since the frame before, from both frames' pictures, before training.

A rendered image pulls only at points that rays already meet, and at each by itself. Here few nodes
carry the cloud (``node_graph``), so that limbs turn as limbs; colours and outlines of blurred
pictures pull at the points that they show, from afar at first (``picture_match``); and the surface
of the new masks' visual hull, where they have one, pulls at what is nearest to it.
"""

import logging

import torch
from torch import Tensor

from animate_papr.following.config import AlignConfig
from animate_papr.following.node_graph import NodeGraph
from animate_papr.following.picture_match import PictureMatch
from blender_render.dataset.readers import Views
from sjc_papr.networks.point_cloud import gather_rows
from sjc_papr.networks.rays import rotations
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points
from training_core.config import InputError
from training_core.metrics_log import progress_bar
from training_core.step.schedules import exponential

logger = logging.getLogger(__name__)

_HULL_POINTS = 4000
_AT_ONCE = 2048
_LOOK_EVERY = 25
# Radians that a node turns in the time in which it shifts by one unit.
_TURN_RATE = 5.0
# Rates fall to a tenth over the last steps, from this share of them on.
_SETTLES = 0.6


def align_to_pictures(
    points: Tensor,
    rest: Tensor | None,
    frames: tuple[Views, Views],
    config: AlignConfig,
    seed: int,
    pseudo: tuple[Views, Views] | None = None,
) -> Tensor:
    """Where the points of the frame before may be now.

    Minimises ``stiff`` · ``NodeGraph.stretch`` + ``colour`` · ``PictureMatch.error`` + the mean
    squared distance from the visual hull's surface to the nearest points, in squares of a typical
    edge between nodes, over turns and shifts of the nodes; stiffness and blur fall from their first
    value to their last.

    Args:
        points: positions in the frame before, [P, 3].
        rest: the same points in the first frame, whose shape is kept as far as can be; None: that
            of the frame before.
        frames: training images of the frame before, and of this one.
        pseudo: further pictures of both, to be looked like, too; they are guesses, so there is
            no hull of their outlines.

    Returns:
        Positions [P, 3], on the device of ``points``. A pure function of its arguments.
    """
    if config.steps == 0:
        return points.clone()
    pictures = config.pictures
    count = max(_HULL_POINTS, config.surface_points)
    old_hull, hull = (_hull(views, count, seed).to(points) for views in frames)
    graph = NodeGraph(points if rest is None else rest.to(points), points, pictures.nodes)
    before, now = frames
    if pseudo:
        before, now = before.followed_by(pseudo[0]), now.followed_by(pseudo[1])
    match = PictureMatch(points, before, now, pictures.side)
    leap = _leap(points, old_hull, hull, match, pictures.blur)
    moved = _bend(graph, match, hull, leap, config, _Draw(seed, points.device))
    was, left = (_uncovered(hull, there).sqrt().item() for there in (points, moved))
    logger.info("aligned to the pictures: %.4f units from the outline, were %.4f", left, was)
    return moved


def _bend(
    graph: NodeGraph,
    match: PictureMatch,
    hull: Tensor,
    leap: Tensor,
    config: AlignConfig,
    draw: "_Draw",
) -> Tensor:
    """Positions [P, 3] after all steps of the nodes, which begin by going as far as ``leap``."""
    pictures, count = config.pictures, len(graph.before)
    shifts = leap.repeat(len(graph.start), 1).requires_grad_()
    turns = torch.zeros_like(shifts).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [shifts]}, {"params": [turns]}], lr=pictures.rate)
    everything = torch.arange(count, device=leap.device)
    with progress_bar(config.steps, description="alignment") as bar:
        for step in range(config.steps):
            progress = step / config.steps
            turned = rotations(turns)
            if step % _LOOK_EVERY == 0:
                match.look(graph.carry(turned, shifts, everything).detach())
            some = draw.some(count, config.surface_points)
            views = draw.some(len(match.seen), pictures.views)
            target = hull[draw.some(len(hull), config.surface_points)]
            moved = graph.carry(turned, shifts, some)
            stiffness = exponential(progress, pictures.stiff, pictures.loose)
            blur = exponential(progress, pictures.blur, pictures.sharp)
            loss = stiffness * graph.stretch(turned, shifts)
            loss = loss + pictures.colour * match.error(moved, some, views, blur)
            loss = loss + _uncovered(target, moved) / graph.unit
            _set_rates(optimizer, pictures.rate, progress)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.update()
    with torch.no_grad():
        return graph.carry(rotations(turns), shifts, everything)


class _Draw:
    """Random choices, drawn on the CPU and so the same on every device."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def some(self, of: int, count: int) -> Tensor:
        """``count`` different numbers below ``of``; all of them, mixed, where there are fewer."""
        return torch.randperm(of, generator=self.generator)[:count].to(self.device)


def _hull(views: Views, count: int, seed: int) -> Tensor:
    """Points on the surface of the masks' visual hull; none, with a warning, where it has none."""
    surface = PointsConfig(count=count, hull_interior=0.0)
    try:
        return initial_points(views, surface, features=1, seed=seed).positions
    except InputError as error:
        logger.warning("the motion is sought by colours alone: %s", error)
        return torch.zeros(0, 3)


@torch.no_grad()
def _leap(
    points: Tensor, old_hull: Tensor, hull: Tensor, match: PictureMatch, blur: float
) -> Tensor:
    """How far a body that leaps has gone, [3]: as far as its outline, if it looks alike there."""
    still = torch.zeros_like(points[0])
    if not (len(old_hull) and len(hull)):
        return still
    everything = torch.arange(len(points), device=points.device)
    views = torch.arange(len(match.seen), device=points.device)

    def error(there: Tensor) -> Tensor:
        match.look(there)
        return match.error(there, everything, views, blur)

    leap = hull.mean(0) - old_hull.mean(0)
    return leap if error(points + leap) < error(points) else still


def _uncovered(target: Tensor, points: Tensor) -> Tensor:
    """Mean squared distance from targets [M, 3] to the nearest of the points [N, 3]; 0 for none."""
    if not len(target):
        return points.sum() * 0.0
    with torch.no_grad():
        parts = target.split(_AT_ONCE)
        nearest = torch.cat([torch.cdist(part, points).argmin(1) for part in parts])
    return (gather_rows(points, nearest) - target).square().sum(-1).mean()


def _set_rates(optimizer: torch.optim.Adam, rate: float, progress: float) -> None:
    settling = max(0.0, (progress - _SETTLES) / (1.0 - _SETTLES))
    shifting, turning = optimizer.param_groups
    shifting["lr"] = rate * 10.0**-settling
    turning["lr"] = _TURN_RATE * shifting["lr"]
