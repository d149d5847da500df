"""A mesh of the first frame that moves with the tracked points; its triangles stay the same."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from animate_papr.surface.around import Around
from animate_papr.surface.depth_fusion import Grid, fuse_depth
from animate_papr.surface.point_colours import colours_from_neighbours, point_colours
from animate_papr.surface.surface_nets import largest_parts, surface_nets
from training_core.checks import at_least
from training_core.config import option


@dataclass
class MeshConfig:
    """How the surface is found, and how it follows the points."""

    resolution: int = option(64, "grid steps along the object's longest side")
    smoothing: int = option(1, "how often the signed distance is smoothed")
    smallest: float = option(
        0.02, "parts with fewer vertices than this share of the largest one's are dropped"
    )
    neighbours: int = option(16, "points of the first frame that a vertex moves with")
    stiffness: int = option(
        30, "how often the motion of each vertex is averaged with that of those joined to it"
    )

    def validate(self) -> None:
        """Raises ValueError where no mesh could come out."""
        at_least(8, resolution=self.resolution)
        at_least(0, smoothing=self.smoothing, smallest=self.smallest, stiffness=self.stiffness)
        at_least(1, neighbours=self.neighbours)


@dataclass(frozen=True)
class MovingMesh:
    """vertices [T, V, 3] in the run's world, triangles [F, 3], rgb [V, 3] uint8, and `errors`:
    for each frame how far points and mesh are apart (``distances``)."""

    vertices: np.ndarray
    triangles: np.ndarray
    rgb: np.ndarray
    errors: list[dict[str, float]]


def moving_mesh(
    around: Around, positions: Tensor, influence: Tensor, config: MeshConfig, tolerance: float
) -> MovingMesh | None:
    """A mesh from the images of the first frame, carried through all frames.

    Args:
        around: images of the first frame. positions: [T, P, 3]. influence: [P], of the first frame.
        tolerance: by which a vertex may miss the surface seen and still be coloured, world units.

    Returns:
        None where the images show no surface.
    """
    kept = influence > 0
    if not bool(kept.any()):
        return None
    tracked = positions[:, kept].float()
    # Single points far outside would make the grid coarse for all.
    low, high = tracked[0].quantile(0.002, dim=0), tracked[0].quantile(0.998, dim=0)
    grid = Grid.around(torch.stack([low, high]).double().numpy(), config.resolution)
    field = fuse_depth(around.alpha, around.front, around.cameras, grid, smoothing=config.smoothing)
    places, triangles = largest_parts(*surface_nets(field), config.smallest)
    if len(triangles) == 0:
        return None
    vertices = torch.from_numpy(grid.to_world(places)).float()
    rgb, seen = point_colours(
        vertices,
        torch.ones(len(vertices)),
        around.rgb,
        around.alpha,
        around.front,
        around.cameras,
        tolerance=tolerance,
    )
    rgb = colours_from_neighbours(vertices, rgb, seen)
    motion = carry(vertices, tracked, config.neighbours)
    moved = vertices + together(motion, torch.from_numpy(triangles), config.stiffness)
    errors = [distances(mesh, points) for mesh, points in zip(moved, tracked, strict=True)]
    colours = (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return MovingMesh(moved.numpy(), triangles, colours, errors)


def carry(vertices: Tensor, positions: Tensor, neighbours: int) -> Tensor:
    """How vertices [V, 3] of the first frame have moved in all frames, [T, V, 3].

    Each moves by the median, axis by axis, of the displacements of the points that are nearest in
    the first frame: a few points that were lost on the way do not pull it along.

    Args:
        positions: [T, P, 3], point i being the same one in every frame.
    """
    moved = positions - positions[:1]
    count = min(neighbours, positions.shape[1])
    parts = []
    for part in vertices.split(1024):
        index = torch.cdist(part, positions[0]).topk(count, dim=1, largest=False).indices
        parts.append(moved[:, index].quantile(0.5, dim=2))
    return torch.cat(parts, dim=1)


def together(motion: Tensor, triangles: Tensor, rounds: int) -> Tensor:
    """Displacements [T, V, 3], each averaged with the mean of its neighbours' along edges.

    Where points of different parts of the body lie side by side in the first frame, vertices
    between them would tear the surface apart; so they share the difference with those around.
    """
    pairs = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = torch.cat([pairs, pairs.flip(1)]).unique(dim=0)
    count = torch.bincount(pairs[:, 0], minlength=motion.shape[1]).clamp(min=1)[:, None]
    for _ in range(rounds):
        around = torch.zeros_like(motion).index_add_(1, pairs[:, 0], motion[:, pairs[:, 1]])
        motion = 0.5 * (motion + around / count)
    return motion


def distances(vertices: Tensor, points: Tensor) -> dict[str, float]:
    """Mean distance from points [P, 3] to the nearest vertex [V, 3], and the other way round."""
    to_mesh, nearest = [], torch.full((len(vertices),), torch.inf)
    for part in points.split(1024):
        apart = torch.cdist(part, vertices)
        to_mesh.append(apart.min(1).values)
        nearest = torch.minimum(nearest, apart.min(0).values)
    return {
        "points_to_mesh": float(torch.cat(to_mesh).mean()),
        "mesh_to_points": float(nearest.mean()),
    }
