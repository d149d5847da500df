"""Find how the object moved since the frame before, from both frames' pictures, before training.

A rendered image pulls only at points that rays already meet, and at each by itself. Here few nodes
carry the cloud (``node_graph``), so that limbs turn as limbs; colours and outlines of blurred
pictures pull at the points that they show, from afar at first (``picture_match``); and the surface
of the new masks' visual hull pulls at what is nearest to it.
"""

import logging

import torch
from torch import Tensor

from animate_papr.following.config import AlignConfig
from animate_papr.following.node_graph import NodeGraph, rotations
from animate_papr.following.picture_match import PictureMatch
from blender_render.dataset.readers import Views
from sjc_papr.networks.point_cloud import gather_rows
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points
from training_core.metrics_log import progress_bar
from training_core.step.schedules import exponential

logger = logging.getLogger(__name__)

_HULL_POINTS = 4000
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
) -> Tensor:
    """Where the points of the frame before may be now.

    Minimises ``stiff`` · ``NodeGraph.stretch`` + ``colour`` · ``PictureMatch.error`` + the mean
    squared distance from the visual hull's surface to the nearest points, over turns and shifts of
    the nodes; stiffness and blur fall from their first value to their last.

    Args:
        points: positions in the frame before, [P, 3].
        rest: the same points in the first frame, whose shape is kept as far as can be; None, or of
            another number: that of the frame before.
        frames: training images of the frame before, and of this one.

    Returns:
        Positions [P, 3], on the device of ``points``. A pure function of its arguments.

    Raises:
        InputError: the images of one of the frames have no visual hull.
    """
    if config.steps == 0:
        return points.clone()
    pictures = config.pictures
    old_hull, hull = (_hull(views, seed).to(points) for views in frames)
    graph = NodeGraph(_rest_of(points, rest), points, pictures.nodes)
    match = PictureMatch(points, *frames, pictures.side)
    # A body that leaps starts from where its outline is.
    shifts = (hull.mean(0) - old_hull.mean(0)).expand(len(graph.start), 3).clone().requires_grad_()
    turns = torch.zeros_like(shifts).requires_grad_()
    groups = [{"params": [shifts]}, {"params": [turns]}]
    optimizer = torch.optim.Adam(groups, lr=pictures.rate)
    draw = _Draw(seed, points.device)
    everything = torch.arange(len(points), device=points.device)
    with progress_bar(config.steps, description="alignment") as bar:
        for step in range(config.steps):
            progress = step / config.steps
            turned = rotations(turns)
            if step % _LOOK_EVERY == 0:
                match.look(graph.carry(turned, shifts, everything).detach())
            some = draw.some(len(points), config.surface_points)
            views = draw.some(len(frames[1]), pictures.views)
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
            moved = graph.carry(rotations(turns), shifts, everything)
    before, after = (_uncovered(hull, there).sqrt().item() for there in (points, moved))
    logger.info("aligned to the pictures: %.4f units from the outline, were %.4f", after, before)
    return moved


class _Draw:
    """Random choices that are the same on every device."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device = device

    def some(self, of: int, count: int) -> Tensor:
        """``count`` different numbers below ``of``; all of them, mixed, where there are fewer."""
        return torch.randperm(of, generator=self.generator)[:count].to(self.device)


def _rest_of(points: Tensor, rest: Tensor | None) -> Tensor:
    return points if rest is None or rest.shape != points.shape else rest.to(points)


def _hull(views: Views, seed: int) -> Tensor:
    """Points on the surface of the masks' visual hull."""
    surface = PointsConfig(count=_HULL_POINTS, hull_interior=0.0)
    return initial_points(views, surface, features=1, seed=seed).positions


def _uncovered(target: Tensor, points: Tensor) -> Tensor:
    """Mean squared distance from targets [M, 3] to the nearest of the points [N, 3]."""
    with torch.no_grad():
        nearest = torch.cdist(target, points).argmin(1)
    return (gather_rows(points, nearest) - target).square().sum(-1).mean()


def _set_rates(optimizer: torch.optim.Adam, rate: float, progress: float) -> None:
    settling = max(0.0, (progress - _SETTLES) / (1.0 - _SETTLES))
    shifting, turning = optimizer.param_groups
    shifting["lr"] = rate * 10.0**-settling
    turning["lr"] = _TURN_RATE * shifting["lr"]
