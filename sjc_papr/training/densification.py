"""Dropping points without influence, adding points where the cloud is thin.

Both happen at steps that are a pure function of the config, keep the Adam state of every surviving
point, and draw from a generator seeded by the step.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from sjc_papr.networks.neighbours import nearest_neighbours
from sjc_papr.networks.point_cloud import PointCloud, PointRows, append_points, keep_points
from sjc_papr.training.config import DensityConfig
from training_core.step.seeds import Stream, step_generator

_SPARSITY_NEIGHBOURS = 10
_BLENDED_NEIGHBOURS = 3


class DensityChange(NamedTuple):
    """How many points were dropped and added; false where none were."""

    pruned: int
    grown: int

    def __bool__(self) -> bool:
        return bool(self.pruned or self.grown)

    def __str__(self) -> str:
        counts = (("dropped", self.pruned), ("added", self.grown))
        return " and ".join(f"{verb} {count}" for verb, count in counts if count)


def event_steps(count: int, start: float, end: float, total_steps: int) -> frozenset[int]:
    """``count`` steps spread evenly over the shares ``start`` to ``end`` of all steps."""
    shares = [start + (end - start) * i / max(count - 1, 1) for i in range(count)]
    return frozenset(round(share * total_steps) for share in shares)


def changes_density(step: int, total_steps: int, config: DensityConfig) -> bool:
    """Whether ``change_density`` has anything to do after ``step`` steps."""
    spans = (
        (config.prune_events, config.prune_from, config.prune_until),
        (config.hull_events, config.prune_from, config.prune_until),
        (config.grow_events, config.grow_from, config.grow_until),
    )
    return any(step in event_steps(*span, total_steps) for span in spans)


def change_density(
    cloud: PointCloud,
    optimizer: Optimizer,
    step: int,
    total_steps: int,
    config: DensityConfig,
    seed: int,
    inside_hull: Callable[[Tensor], Tensor] | None = None,
) -> DensityChange:
    """Prune and grow where ``step`` is one of the steps for it.

    Args:
        inside_hull: which of some places [N, 3] may hold matter, bool [N]; for ``hull_events``.
    """
    pruned = grown = 0
    prunes = event_steps(config.prune_events, config.prune_from, config.prune_until, total_steps)
    grows = event_steps(config.grow_events, config.grow_from, config.grow_until, total_steps)
    if step in prunes:
        keep = cloud.influence.detach() > config.prune_below
        # A cloud without points cannot render, and cannot recover.
        if keep.any() and not keep.all():
            keep_points(cloud, keep, optimizer)
            pruned = int((~keep).sum())
    carves = event_steps(config.hull_events, config.prune_from, config.prune_until, total_steps)
    if inside_hull and step in carves:
        keep = inside_hull(cloud.positions.detach())
        if keep.any() and not keep.all():
            keep_points(cloud, keep, optimizer)
            pruned += int((~keep).sum())
    if step in grows:
        room = min(config.grow_count, config.max_points - len(cloud), len(cloud))
        if room > 0:
            generator = step_generator(Stream.DATA, seed, step)
            append_points(cloud, grown_points(cloud.rows(), room, generator), optimizer)
            grown = room
    return DensityChange(pruned, grown)


def grown_points(rows: PointRows, count: int, generator: torch.Generator) -> PointRows:
    """New points near those whose distances to their ten neighbours vary most (holes and borders).

    Each is a random convex mix of the three nearest neighbours (zvict/papr models/utils.py:
    add_points_knn).
    """
    distances, neighbours = nearest_neighbours(rows.positions, _SPARSITY_NEIGHBOURS)
    sparsest = distances.std(dim=1).topk(count).indices
    mixed = neighbours[sparsest, :_BLENDED_NEIGHBOURS]
    share = torch.rand(mixed.shape, generator=generator).to(rows.positions.device)
    share = share / share.sum(dim=1, keepdim=True)
    return PointRows(*(_blend(values[mixed], share) for values in rows))


def _blend(values: Tensor, share: Tensor) -> Tensor:
    """[N, 3, ...] values by [N, 3] shares to [N, ...]."""
    return torch.einsum("nk...,nk->n...", values, share)
