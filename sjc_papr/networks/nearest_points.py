"""The K points nearest to every ray, exactly, without looking at every pair.

All rays of a window share the eye. A square tile of rays lies inside a cone (axis c, half-angle
a), and a point seen from the eye at angle θ from c keeps an angle between θ - a and θ + a to every
ray of the tile. So its distance to each of those rays lies between

    lo = |v| sin(θ - a)      and      hi = |v| sin(θ + a)

with the angles cut off at 0 and 90 degrees. No point whose ``lo`` exceeds the K-th smallest ``hi``
can be among the K nearest of any ray in the tile; true distances are needed for the few others
only.

Distances are |v × d|, never sqrt(|v|² - (v·d)²): far from the object the difference of two large
squares loses the digits that decide (at 1,200 units float32 would miss one neighbour in twenty).
All of it is in float64: directions in float32 are not of unit length, and at long range that alone
closes a cone or swaps neighbours. So few pairs are looked at that it costs nothing.
"""

import torch
from torch import Tensor

from sjc_papr.networks.rays import RayBundle

# Rounding allowance when comparing bounds, as a share of the distance to the farthest point.
RELATIVE_SLACK = 1e-7
_TILES_PER_BLOCK_EDGE = 4


@torch.no_grad()
def nearest_points(
    rays: RayBundle,
    positions: Tensor,
    k: int,
    *,
    distance_to: str = "half_line",
    tile: int = 4,
    max_pairs: int = 1 << 24,
) -> Tensor:
    """Indices of the K points nearest to each ray.

    Args:
        rays: B windows of H × W rays.
        positions: [P, 3].
        k: how many; all points when there are fewer than k.
        distance_to: ``line`` measures to the infinite line, as PAPR's published code does;
            ``half_line`` measures points behind the eye by their distance to the eye.
        tile: edge of a tile in pixels.
        max_pairs: bound on the entries of any one intermediate tensor; it bounds the memory
            whatever the image size.

    Returns:
        [B, H, W, min(k, P)] int64, in no particular order along the last axis.
    """
    k = min(k, positions.shape[0])
    batch, height, width, _ = rays.directions.shape
    if k == positions.shape[0]:
        everyone = torch.arange(k, device=positions.device)
        return everyone.expand(batch, height, width, k)
    found = [
        _nearest_in_window(origin, directions, positions, k, distance_to, tile, max_pairs)
        for origin, directions in zip(rays.origins, rays.directions, strict=True)
    ]
    return torch.stack(found)


def _nearest_in_window(
    origin: Tensor,
    directions: Tensor,
    positions: Tensor,
    k: int,
    distance_to: str,
    tile: int,
    max_pairs: int,
) -> Tensor:
    height, width, _ = directions.shape
    edge = tile * _TILES_PER_BLOCK_EDGE
    directions = torch.nn.functional.normalize(directions.double(), dim=-1)
    to_points = positions.double() - origin.double()
    slack = RELATIVE_SLACK * to_points.norm(dim=1).max()
    rows = []
    for top in range(0, height, edge):
        row = []
        for left in range(0, width, edge):
            block = directions[top : top + edge, left : left + edge]
            low, high = distance_bounds(block.reshape(1, -1, 3), to_points, distance_to)
            near = torch.nonzero(low[0] <= high[0].kthvalue(k).values + slack)[:, 0]
            index = _nearest_in_block(block, to_points[near], k, distance_to, tile, max_pairs)
            row.append(near[index])
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


def _nearest_in_block(
    directions: Tensor, to_points: Tensor, k: int, distance_to: str, tile: int, max_pairs: int
) -> Tensor:
    height, width, _ = directions.shape
    tiles, rows, columns = cut_into_tiles(directions, tile)
    per_chunk = max(1, max_pairs // to_points.shape[0])
    chunks = [
        _nearest_in_tiles(tiles[start : start + per_chunk], to_points, k, distance_to, max_pairs)
        for start in range(0, tiles.shape[0], per_chunk)
    ]
    return join_tiles(torch.cat(chunks), rows, columns, tile)[:height, :width]


def cut_into_tiles(directions: Tensor, tile: int) -> tuple[Tensor, int, int]:
    """[H, W, 3] to [tiles, tile*tile, 3]; the border is filled by repeating its last rays."""
    height, width, _ = directions.shape
    rows, columns = -(-height // tile), -(-width // tile)
    row_index = torch.arange(rows * tile, device=directions.device).clamp_(max=height - 1)
    column_index = torch.arange(columns * tile, device=directions.device).clamp_(max=width - 1)
    padded = directions[row_index][:, column_index]
    tiles = padded.view(rows, tile, columns, tile, 3).transpose(1, 2)
    return tiles.reshape(rows * columns, tile * tile, 3), rows, columns


def join_tiles(values: Tensor, rows: int, columns: int, tile: int) -> Tensor:
    """[tiles, tile*tile, n] back to [rows*tile, columns*tile, n]."""
    grid = values.view(rows, columns, tile, tile, -1).transpose(1, 2)
    return grid.reshape(rows * tile, columns * tile, -1)


def _nearest_in_tiles(
    tiles: Tensor, to_points: Tensor, k: int, distance_to: str, max_pairs: int
) -> Tensor:
    """[T, R, 3] rays and [P, 3] eye-to-point vectors to [T, R, k] indices."""
    low, high = distance_bounds(tiles, to_points, distance_to)
    kth_high = high.kthvalue(k, dim=1, keepdim=True).values
    slack = RELATIVE_SLACK * to_points.norm(dim=1).max()
    survives = low <= kth_high + slack
    most = int(survives.sum(1).max())
    low, candidates = low.masked_fill_(~survives, torch.inf).topk(most, dim=1, largest=False)
    empty = low.isinf()

    rays_per_tile = tiles.shape[1]
    per_chunk = max(1, max_pairs // (rays_per_tile * most))
    picked = []
    for start in range(0, tiles.shape[0], per_chunk):
        part = slice(start, start + per_chunk)
        vectors = to_points[candidates[part]]
        distance = squared_distance(tiles[part].unsqueeze(2), vectors.unsqueeze(1), distance_to)
        distance.masked_fill_(empty[part].unsqueeze(1), torch.inf)
        nearest = distance.topk(k, dim=2, largest=False, sorted=False).indices
        chosen = candidates[part].unsqueeze(1).expand(-1, rays_per_tile, -1)
        picked.append(chosen.gather(2, nearest))
    return torch.cat(picked)


def distance_bounds(tiles: Tensor, to_points: Tensor, distance_to: str) -> tuple[Tensor, Tensor]:
    """Least and greatest distance from each point to the rays of each tile, [T, P] twice.

    Both inputs in float64, rays of unit length.
    """
    axis = torch.nn.functional.normalize(tiles.mean(dim=1), dim=-1)
    # From the chord between axis and ray, 2 sin(a / 2): the cosine of a small angle has no digits.
    chord = (tiles - axis.unsqueeze(1)).norm(dim=-1).amax(1, keepdim=True)
    cos_a = 1.0 - 0.5 * chord.square()
    sin_a = chord * (1.0 - 0.25 * chord.square()).clamp(min=0.0).sqrt()
    length = to_points.norm(dim=1)
    cosine = axis @ to_points.T  # |v| cos θ
    sine = (length.square() - cosine.square()).clamp_(min=0.0).sqrt_()  # |v| sin θ
    if distance_to == "line":
        cosine = cosine.abs()
    low = (sine * cos_a - cosine * sin_a).clamp_(min=0.0)
    high = sine * cos_a + cosine * sin_a
    # Past 90 degrees the sine would fall again, but the distance stays |v|.
    low = torch.where(cosine * cos_a + sine * sin_a < 0.0, length, low)
    high = torch.where(cosine * cos_a - sine * sin_a < 0.0, length, high)
    # Very wide lenses: a cone of more than 90 degrees bounds nothing.
    wide = cos_a < 0.0
    return low.masked_fill_(wide, 0.0), torch.where(wide, length, high)


def squared_distance(directions: Tensor, to_points: Tensor, distance_to: str) -> Tensor:
    """Squared distance |v × d|² from points to rays; the two [..., 3] shapes broadcast."""
    dx, dy, dz = directions.unbind(-1)
    vx, vy, vz = to_points.unbind(-1)
    across = (
        (vy * dz - vz * dy).square_()
        + (vz * dx - vx * dz).square_()
        + (vx * dy - vy * dx).square_()
    )
    if distance_to == "line":
        return across
    behind = vx * dx + vy * dy + vz * dz < 0.0
    return torch.where(behind, (vx * vx + vy * vy + vz * vz), across)
