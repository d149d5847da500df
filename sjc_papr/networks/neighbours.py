"""Distances between the points of a cloud."""

import torch
from torch import Tensor


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


def typical_spacing(positions: Tensor, sample: int = 2000) -> float:
    """Median distance of (up to ``sample``) points [P, 3] to their nearest other point."""
    if len(positions) < 2:
        return 1.0
    distances = torch.cdist(positions[:sample], positions)
    return max(distances.kthvalue(2, dim=1).values.median().item(), 1e-6)
