"""Bring a point cloud near the next frame's shape before any image is rendered.

Gradients of a rendered image only reach points that rays already meet. A limb that has moved
farther than its own width since the frame before gets none, and its points are scattered instead of
moved. The masks say where the object is now: points are drawn to the surface of the new visual
hull and the hull's surface draws points, while neighbours keep moving together, stiffly at first.
"""

import logging

import torch
from torch import Tensor

from animate_papr.following.config import AlignConfig
from animate_papr.following.motion_losses import MotionTerms
from blender_render.dataset.readers import Views
from sjc_papr.networks.point_cloud import gather_rows
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points
from training_core.metrics_log import progress_bar
from training_core.step.schedules import exponential

logger = logging.getLogger(__name__)


def align_to_hull(before: Tensor, views: Views, config: AlignConfig, seed: int) -> Tensor:
    """Where the points of the frame before may be now.

    Minimises the mean squared distance from points to the hull's surface and back (a Chamfer
    distance), plus ``MotionTerms.smooth`` with a weight that falls from ``stiff`` to ``loose``.

    Args:
        before: positions in the frame before, [P, 3].
        views: training images of this frame.

    Returns:
        Positions [P, 3], on the device of ``before``. A pure function of its arguments.

    Raises:
        InputError: the images of this frame have no visual hull.
    """
    if config.steps == 0:
        return before.clone()
    surface = PointsConfig(count=config.surface_points, hull_interior=0.0)
    target = initial_points(views, surface, features=1, seed=seed).positions.to(before)
    terms = MotionTerms(before, config.neighbours)
    positions = _centred_if_nearer(before, target).requires_grad_()
    optimizer = torch.optim.Adam([positions], lr=config.rate)
    generator = torch.Generator().manual_seed(seed)
    start = chamfer(before, target).item()
    with progress_bar(config.steps, description="alignment") as bar:
        for step in range(config.steps):
            some = torch.randperm(len(before), generator=generator)[: config.surface_points]
            distance = chamfer(positions[some.to(before.device)], target)
            stiffness = exponential(step / config.steps, config.stiff, config.loose)
            loss = distance / terms.unit + stiffness * terms.smooth_of(positions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.update()
    moved = positions.detach()
    logger.info(
        "aligned to the new outline: root mean squared distance %.4f, was %.4f units",
        chamfer(moved, target).item() ** 0.5,
        start**0.5,
    )
    return moved


def _centred_if_nearer(points: Tensor, target: Tensor) -> Tensor:
    """The points moved as a whole to the target's centre, where that brings them nearer."""
    shifted = points + target.mean(dim=0) - points.mean(dim=0)
    nearer = chamfer(shifted, target) < chamfer(points, target)
    return shifted if bool(nearer) else points.clone()


def chamfer(points: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance from each point [N, 3] to the nearest target [M, 3], and back."""
    with torch.no_grad():
        distances = torch.cdist(points, target)
        to_target, to_points = distances.argmin(1), distances.argmin(0)
    there = (points - gather_rows(target, to_target)).square().sum(-1).mean()
    back = (gather_rows(points, to_points) - target).square().sum(-1).mean()
    return 0.5 * (there + back)
