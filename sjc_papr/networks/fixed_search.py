"""The K points nearest to every ray in tensors of fixed shapes, for devices that must not wait.

``nearest_points`` asks the device how many points survive its bounds, and the processor waits for
each answer: nothing on a CPU, a hundred stops a step on a GPU. Here every tile of rays takes the
same number of candidates, those with the least lower bounds, so no shape depends on a value.

What is found is exact wherever the K-th distance is no longer than the least lower bound of the
points that were left out, and that is checked ray by ray, on the device. Where a ray cannot be
proven, its K are the nearest among the candidates.
"""

import torch
from torch import Tensor

from sjc_papr.networks.nearest_points import (
    RELATIVE_SLACK,
    cut_into_tiles,
    distance_bounds,
    join_tiles,
    squared_distance,
)
from sjc_papr.networks.rays import RayBundle


@torch.no_grad()
def fixed_nearest_points(
    rays: RayBundle,
    positions: Tensor,
    k: int,
    *,
    distance_to: str = "half_line",
    candidates: int = 1024,
    tile: int = 4,
    max_pairs: int = 1 << 24,
) -> tuple[Tensor, Tensor]:
    """Indices of the K points nearest to each ray, and whether they are proven to be.

    Args:
        candidates: points whose distances are computed for each tile; more prove more rays.
        Others as in ``nearest_points``.

    Returns:
        [B, H, W, min(k, P)] int64, in no particular order along the last axis; [B, H, W] bool.
    """
    k = min(k, positions.shape[0])
    candidates = min(max(candidates, k), positions.shape[0])
    found = []
    for origin, directions in zip(rays.origins, rays.directions, strict=True):
        height, width, _ = directions.shape
        unit = torch.nn.functional.normalize(directions.double(), dim=-1)
        tiles, rows, columns = cut_into_tiles(unit, tile)
        to_points = positions.double() - origin.double()
        # As many tiles at once as keep both the bounds and the distances below max_pairs.
        entries = max(to_points.shape[0], tile * tile * candidates)
        chunks = [
            _nearest_in_tiles(part, to_points, k, candidates, distance_to)
            for part in tiles.split(max(1, max_pairs // entries))
        ]
        found.append(
            [
                join_tiles(torch.cat(parts), rows, columns, tile)[:height, :width]
                for parts in zip(*chunks, strict=True)
            ]
        )
    indices, proven = (torch.stack(parts) for parts in zip(*found, strict=True))
    return indices, proven.squeeze(-1)


def _nearest_in_tiles(
    tiles: Tensor, to_points: Tensor, k: int, candidates: int, distance_to: str
) -> tuple[Tensor, Tensor]:
    """[T, R, 3] rays and [P, 3] eye-to-point vectors to [T, R, k] indices and [T, R, 1] bool."""
    low, _ = distance_bounds(tiles, to_points, distance_to)
    everyone = candidates == to_points.shape[0]
    # One more than the candidates: the least bound of those that are left out.
    least = low.topk(candidates + (not everyone), dim=1, largest=False)
    chosen = least.indices[:, :candidates]
    distances = squared_distance(
        tiles.unsqueeze(2), to_points[chosen].unsqueeze(1), distance_to
    )  # [T, R, candidates]
    nearest = distances.topk(k, dim=2, largest=False, sorted=False)
    rays_per_tile = tiles.shape[1]
    indices = chosen.unsqueeze(1).expand(-1, rays_per_tile, -1).gather(2, nearest.indices)
    farthest = nearest.values.amax(dim=2, keepdim=True).sqrt()
    if everyone:
        return indices, torch.ones_like(farthest, dtype=torch.bool)
    beyond = least.values[:, -1:, None]
    slack = RELATIVE_SLACK * to_points.norm(dim=1).max()
    return indices, farthest + slack <= beyond
