"""Visual hull: the part of space that lies inside the object's outline in every image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera

Bounds = tuple[npt.ArrayLike, npt.ArrayLike]
Masks = Tensor | Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Hull:
    """Occupied voxels.

    Attributes:
        points: [N, 3] float32, centres in world coordinates.
        voxel_size: side of a (cubic) voxel, scene units.
    """

    points: Tensor
    voxel_size: float

    def extent(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower and upper corner [3] of the occupied voxels. Raises ValueError when empty."""
        if not len(self.points):
            raise ValueError("the visual hull is empty")
        points, half = self.points.double().numpy(), 0.5 * self.voxel_size
        return points.min(0) - half, points.max(0) + half


def carve(
    masks: Masks,
    cameras: Sequence[Camera],
    resolution: int,
    bounds: Bounds,
    min_agreement: float = 1.0,
    *,
    tolerance: float = 0.5,
    min_views: int = 2,
    min_parallax_deg: float = 20.0,
) -> Hull:
    """Keep the voxels whose centre is inside the mask of enough of the images that show it.

    Args:
        masks: N of [H, W], alpha in [0, 1] (inside from 0.5) or bool; sizes may differ.
        cameras: N cameras of images of these sizes.
        resolution: voxels along the longest side of ``bounds``.
        bounds: lower and upper corner [3] of the searched box, world coordinates.
        min_agreement: share in (0, 1] of the images showing a voxel that must have it inside.
        tolerance: masks are widened by this many voxels as seen from each camera (in whole
            pixels), so that parts thinner than a voxel survive.
        min_views: voxels seen by fewer images are dropped: they are unconstrained.
        min_parallax_deg: voxels whose lines of sight deviate from their common direction by less
            than this (root mean square) are dropped: their depth is not known. 0 keeps them.

    What lies outside an image or behind its camera counts as unknown, never as empty, so objects
    cut by the border of some images are kept whole. The price is a shaft of unknown space along
    the directions from which all showing cameras look; ``min_parallax_deg`` takes it away.

    Raises:
        ValueError: numbers of masks and cameras differ, or the bounds are empty.
    """
    if len(masks) != len(cameras) or not len(cameras):
        raise ValueError(f"{len(masks)} masks for {len(cameras)} cameras")
    low, high = (np.asarray(b, dtype=np.float64) for b in bounds)
    if not (high > low).all():
        raise ValueError(f"bounds are empty: {low} to {high}")
    voxel = float((high - low).max()) / resolution
    points = _grid(low, high, voxel)
    centre = 0.5 * (low + high)
    seen = torch.zeros(len(points), dtype=torch.int16)
    missed = torch.zeros_like(seen)
    # A voxel that misses more images than this cannot reach the agreement any more.
    allowed = int((1.0 - min_agreement) * len(cameras) + 1e-9)
    for index in _far_apart(len(cameras)):
        camera = cameras[index]
        distance = max(float((centre - camera.position) @ camera.forward), voxel)
        inside = _widen(masks[index], tolerance * voxel * camera.fl_x / distance)
        column, row, known = _pixels(*_project(points, camera), camera)
        hit = torch.zeros(len(points), dtype=torch.bool)
        hit[known] = inside[row[known], column[known]]
        seen += known
        missed += known & ~hit
        keep = missed <= allowed
        if not bool(keep.all()):
            points, seen, missed = points[keep], seen[keep], missed[keep]
    points = points[(seen - missed >= min_agreement * seen - 1e-6) & (seen >= min_views)]
    if min_parallax_deg > 0.0 and len(points):
        points = points[parallax_deg(points, cameras) >= min_parallax_deg]
    return Hull(points, voxel)


def parallax_deg(points: Tensor, cameras: Sequence[Camera]) -> Tensor:
    """Spread [N] of the lines of sight to each point, over the cameras that show it.

    Root mean square angle in degrees (of the sine) from the lines' principal direction: 0 when
    all cameras look along one line, 45 for all around in a plane, 54.7 for a full sphere.
    """
    moment = torch.zeros(len(points), 3, 3)
    seen = torch.zeros(len(points))
    for camera in cameras:
        _, _, known = _pixels(*_project(points, camera), camera)
        sight = F.normalize(torch.tensor(camera.position, dtype=torch.float32) - points, dim=1)
        sight = sight * known[:, None]
        moment += sight[:, :, None] * sight[:, None, :]
        seen += known
    principal = torch.linalg.eigvalsh(moment / seen.clamp(min=1)[:, None, None])[:, -1]
    return torch.rad2deg(torch.asin((1.0 - principal).clamp(0.0, 1.0).sqrt()))


def reprojection_iou(hull: Hull, masks: Masks, cameras: Sequence[Camera]) -> Tensor:
    """Intersection over union [N] of the hull's image with each of N masks [H, W].

    Near 1 only when poses, lens and images belong together. The value also falls with coarse
    voxels, by a rim of up to a voxel.
    """
    values = []
    for mask, camera in zip(masks, cameras, strict=True):
        drawn = _silhouette(hull, camera)
        target = mask if mask.dtype == torch.bool else mask >= 0.5
        union = (drawn | target).sum()
        values.append((drawn & target).sum() / union.clamp(min=1))
    return torch.stack(values)


def coverage(hull: Hull, masks: Sequence[Tensor], cameras: Sequence[Camera]) -> Tensor:
    """Share [N] of each bool mask [H, W] that lies on the hull, seen from its camera.

    1 for the masks that the hull was carved from, and for those of any other view of the same
    object: the hull holds all of it. Masks must not be empty.
    """
    shares = []
    for mask, camera in zip(masks, cameras, strict=True):
        shares.append((_silhouette(hull, camera) & mask).sum() / mask.sum())
    return torch.stack(shares)


def _silhouette(hull: Hull, camera: Camera) -> Tensor:
    """Bool [H, W]: every voxel drawn as a square of its size at the hull's mean distance."""
    image = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    if not len(hull.points):
        return image
    middle = hull.points.double().mean(0).numpy()
    distance = max(float((middle - camera.position) @ camera.forward), hull.voxel_size)
    side = hull.voxel_size * camera.fl_x / distance
    # Steps of at most a pixel leave no holes; the cap only bites on senseless poses.
    steps = torch.linspace(-0.5 * side, 0.5 * side, min(math.ceil(side) + 1, 16)).tolist()
    x, y, front = _project(hull.points, camera)
    for dx, dy in itertools.product(steps, steps):
        column, row, known = _pixels(x + dx, y + dy, front, camera)
        image[row[known], column[known]] = True
    return image


def _far_apart(count: int) -> list[int]:
    """All indices, neighbours in time far apart in number: rigs are often sorted along a path,
    and different directions carve most of the empty space with the first few images."""
    return sorted(range(count), key=lambda i: (i * 0.6180339887) % 1.0)


def _grid(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], voxel: float) -> Tensor:
    """Voxel centres [N, 3] filling the box, the grid centred in it."""
    axes = []
    for a, b in zip(low, high, strict=True):
        count = max(1, round((b - a) / voxel + 0.499))
        start = 0.5 * (a + b) - 0.5 * voxel * (count - 1)
        axes.append(torch.arange(count, dtype=torch.float32) * voxel + start)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel coordinates x [N], y [N] of world points, and whether they lie in front [N]."""
    pose = torch.tensor(camera.world_to_cam, dtype=torch.float32)
    local = points @ pose[:3, :3].T + pose[:3, 3]
    depth = -local[:, 2]
    safe = depth.clamp(min=1e-9)
    x = camera.cx + camera.fl_x * local[:, 0] / safe
    y = camera.cy - camera.fl_y * local[:, 1] / safe
    return x, y, depth > 1e-9


def _pixels(x: Tensor, y: Tensor, front: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Column [N], row [N] (int64) and whether the image shows the point [N]."""
    known = front & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    return (
        x.clamp(0, camera.width - 1).long(),
        y.clamp(0, camera.height - 1).long(),
        known,
    )


def _widen(mask: Tensor, radius: float) -> Tensor:
    """Bool mask [H, W] grown by a square of ``radius`` pixels."""
    inside = mask if mask.dtype == torch.bool else mask >= 0.5
    steps = min(int(radius + 0.5), max(inside.shape))
    if steps < 1:
        return inside
    size = 2 * steps + 1
    grown = F.max_pool2d(inside[None, None].float(), (size, 1), stride=1, padding=(steps, 0))
    grown = F.max_pool2d(grown, (1, size), stride=1, padding=(0, steps))
    return grown[0, 0] > 0.5
