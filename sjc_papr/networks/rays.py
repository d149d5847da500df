"""From cameras to rays, and how a ray sees a point.

Conventions: OpenGL cameras (+X right, +Y up, looking along -Z), pixel centres at half-integers,
row 0 at the top, world with +Z up. Directions have unit length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera


@dataclass(frozen=True)
class RayBundle:
    """Rays of B windows that share one camera centre each.

    Attributes:
        origins: camera centres, [B, 3], world units.
        directions: unit vectors, [B, H, W, 3].
        forward: optical axes, unit vectors, [B, 3]; planar depth is measured along them.
        views: numbers of the training views that the windows are of, where that is known.
    """

    origins: Tensor
    directions: Tensor
    forward: Tensor
    views: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        batch = self.directions.shape[0]
        assert self.directions.ndim == 4 and self.directions.shape[-1] == 3
        assert self.origins.shape == (batch, 3) and self.forward.shape == (batch, 3)

    def to(self, device: torch.device | str) -> "RayBundle":
        return RayBundle(
            self.origins.to(device),
            self.directions.to(device),
            self.forward.to(device),
            self.views,
        )

    def rows(self, start: int, stop: int) -> "RayBundle":
        """The rays of some image rows, all columns."""
        return RayBundle(self.origins, self.directions[:, start:stop], self.forward, self.views)

    @staticmethod
    def stack(bundles: list["RayBundle"]) -> "RayBundle":
        """One bundle from several of the same height and width."""
        return RayBundle(
            torch.cat([b.origins for b in bundles]),
            torch.cat([b.directions for b in bundles]),
            torch.cat([b.forward for b in bundles]),
            tuple(view for b in bundles for view in b.views),
        )


class PixelWindow(NamedTuple):
    """A rectangle of pixels: rows ``top:top+height``, columns ``left:left+width``."""

    top: int
    left: int
    height: int
    width: int


def camera_rays(camera: Camera, window: PixelWindow | None = None) -> RayBundle:
    """Rays through the pixel centres of a camera, or of a window of its image.

    Returns:
        A bundle with B = 1, float32 on the CPU.
    """
    top, left, height, width = window or PixelWindow(0, 0, camera.height, camera.width)
    x = (np.arange(left, left + width) + 0.5 - camera.cx) / camera.fl_x
    y = -(np.arange(top, top + height) + 0.5 - camera.cy) / camera.fl_y
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    in_camera = np.stack([grid_x, grid_y, -np.ones_like(grid_x)], axis=-1)
    rotation = camera.cam_to_world[:3, :3]
    directions = in_camera @ rotation.T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return RayBundle(
        torch.tensor(camera.cam_to_world[None, :3, 3], dtype=torch.float32),
        torch.from_numpy(directions[None]).float(),
        torch.tensor(-rotation[None, :, 2], dtype=torch.float32),
    )


class CameraTable:
    """Cameras held on a device, which makes their rays there: nothing is copied in a step.

    Rays differ from those of ``camera_rays`` by one rounding in float32 at most.
    """

    def __init__(self, cameras: Sequence[Camera], device: torch.device) -> None:
        rows = [[c.fl_x, c.fl_y, c.cx, c.cy, *c.cam_to_world[:3].flat] for c in cameras]
        self.values = torch.tensor(rows, dtype=torch.float64).to(device)

    def rays(self, index: int, window: PixelWindow) -> RayBundle:
        """Rays of a window of camera number ``index``, as ``camera_rays`` gives them."""
        (top, left, height, width), row = window, self.values[index]
        columns = torch.arange(left, left + width, dtype=row.dtype, device=row.device)
        rows = torch.arange(top, top + height, dtype=row.dtype, device=row.device)
        x, y = (columns + 0.5 - row[2]) / row[0], -(rows + 0.5 - row[3]) / row[1]
        pose = row[4:].view(3, 4)
        right, up, back, origin = pose.unbind(1)
        directions = x[None, :, None] * right + y[:, None, None] * up - back
        directions = directions / directions.norm(dim=-1, keepdim=True)
        return RayBundle(origin[None].float(), directions[None].float(), -back[None].float())


class RayPointGeometry(NamedTuple):
    """Where a point lies as seen from a ray; all tensors are [..., K, n].

    Attributes:
        ray_distance: from the camera centre to the point's projection onto the ray, [..., K, 1].
        projection: from the camera centre to that projection (s of PAPR's Figure 2), [..., K, 3].
        offset: from the projection to the point, across the ray (t in Figure 2), [..., K, 3].
    """

    ray_distance: Tensor
    projection: Tensor
    offset: Tensor

    def distance(self) -> Tensor:
        """Distance of the points to the half-line that begins at the camera centre, [..., K]."""
        behind = self.ray_distance[..., 0].clamp(max=0.0)
        return (self.offset.square().sum(-1) + behind.square()).sqrt()


def ray_point_geometry(
    origins: Tensor, directions: Tensor, points: Tensor, *, epsilon: float = 0.0
) -> RayPointGeometry:
    """Split vectors from camera centre to point into parts along and across the ray.

    Args:
        origins: [B, 3]. directions: [B, H, W, 3]. points: [B, H, W, K, 3].
        epsilon: zvict/papr guards both its normalisations with 1e-6, which shortens the part along
            the ray by three millionths; weights trained with that shift need it reproduced.
    """
    to_point = points - origins[:, None, None, None, :]
    rays = directions.unsqueeze(-2)
    if epsilon:
        rays = rays / (rays.norm(dim=-1, keepdim=True) + epsilon)
    ray_distance = (to_point * rays).sum(-1, keepdim=True)
    if epsilon:
        ray_distance = ray_distance / (rays.square().sum(-1, keepdim=True) + epsilon)
    projection = ray_distance * rays
    return RayPointGeometry(ray_distance, projection, to_point - projection)


def rotations(vectors: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3], which turn by their length in
    radians about their direction (Rodrigues); rows, so ``v @ R``.
    """
    squared = vectors.square().sum(-1)[..., None, None]
    # The root's gradient at zero is not a number; this far from it nothing changes in float32.
    angle = squared.clamp_min(1e-12).sqrt()
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).unflatten(-1, (3, 3))
    one = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    half = torch.sin(0.5 * angle) / (0.5 * angle)
    return one + torch.sin(angle) / angle * cross + 0.5 * half.square() * (cross @ cross)
