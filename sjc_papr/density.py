"""Dropping points nobody looks at, adding points where the cloud is thin.

Both happen at steps that are a pure function of the config, keep the Adam state of every surviving
point, and draw from a generator seeded by the step.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from sjc_papr.config import DensityConfig
from sjc_papr.points import PointCloud, PointRows, append_points, keep_points

_SPARSITY_NEIGHBOURS = 10
_BLENDED_NEIGHBOURS = 3


def event_steps(count: int, start: float, end: float, total_steps: int) -> frozenset[int]:
    """``count`` steps spread evenly over the shares ``start`` to ``end`` of all steps."""
    shares = [start + (end - start) * i / max(count - 1, 1) for i in range(count)]
    return frozenset(round(share * total_steps) for share in shares)


def change_density(
    cloud: PointCloud,
    optimizer: Optimizer,
    step: int,
    total_steps: int,
    config: DensityConfig,
    seed: int,
    inside_hull: Callable[[Tensor], Tensor] | None = None,
) -> str | None:
    """Prune and grow if ``step`` is one of the steps for it; returns what was done, or None.

    Args:
        inside_hull: which of some places [N, 3] may hold matter, bool [N]; for ``hull_events``.
    """
    done = []
    prunes = event_steps(config.prune_events, config.prune_from, config.prune_until, total_steps)
    grows = event_steps(config.grow_events, config.grow_from, config.grow_until, total_steps)
    if step in prunes:
        keep = cloud.influence.detach() > config.prune_below
        # A cloud without points cannot render, and cannot recover.
        if keep.any() and not keep.all():
            keep_points(cloud, keep, optimizer)
            done.append(f"dropped {int((~keep).sum())}")
    carves = event_steps(config.hull_events, config.prune_from, config.prune_until, total_steps)
    if inside_hull and step in carves:
        keep = inside_hull(cloud.positions.detach())
        if keep.any() and not keep.all():
            keep_points(cloud, keep, optimizer)
            done.append(f"dropped {int((~keep).sum())} outside the hull")
    if step in grows:
        room = min(config.grow_count, config.max_points - len(cloud), len(cloud))
        if room > 0:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            append_points(cloud, grown_points(cloud.rows(), room, generator), optimizer)
            done.append(f"added {room}")
    return f"{' and '.join(done)} points, now {len(cloud)}" if done else None


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


def nearest_neighbours(
    positions: Tensor, k: int, max_pairs: int = 1 << 24
) -> tuple[Tensor, Tensor]:
    """Distances and indices [P, k] of each point's k nearest other points, nearest first."""
    count = positions.shape[0]
    k = min(k, count - 1)
    rows = max(1, max_pairs // count)
    distances, indices = [], []
    for start in range(0, count, rows):
        part = torch.cdist(positions[start : start + rows], positions)
        here = torch.arange(part.shape[0], device=part.device)
        part[here, here + start] = torch.inf
        nearest = part.topk(k, dim=1, largest=False)
        distances.append(nearest.values)
        indices.append(nearest.indices)
    return torch.cat(distances), torch.cat(indices)
