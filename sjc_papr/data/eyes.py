"""Cameras as tensors: where points fall in their pictures.

Conventions as everywhere: OpenGL cameras, +Z up, planar depth in world units, row 0 on top.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.networks.rays import camera_rays


class Eye(NamedTuple):
    """A camera as tensors.

    Attributes:
        origin: [3], world units. toward: vectors [H, W, 3] whose part along the optical axis is 1,
            so that ``origin + depth * toward`` lies at that planar depth.
        rotation: world to camera, [3, 3]. focal: pixels, [2]. centre: pixels, [2].
        size: width and height, pixels, [2].
    """

    origin: Tensor
    toward: Tensor
    rotation: Tensor
    focal: Tensor
    centre: Tensor
    size: Tensor

    @staticmethod
    def of(camera: Camera) -> "Eye":
        rays = camera_rays(camera)
        toward = rays.directions[0] / (rays.directions[0] @ rays.forward[0]).unsqueeze(-1)
        return Eye(
            rays.origins[0],
            toward,
            torch.tensor(camera.cam_to_world[:3, :3].T.copy(), dtype=torch.float32),
            torch.tensor([camera.fl_x, camera.fl_y], dtype=torch.float32),
            torch.tensor([camera.cx, camera.cy], dtype=torch.float32),
            torch.tensor([camera.width, camera.height], dtype=torch.float32),
        )

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel coordinates [..., 2] (x to the right, y down) and planar depth [...] of points
        [..., 3]. Behind the eye, depth is negative and the pixel means nothing.
        """
        local = (points - self.origin) @ self.rotation.T
        depth = -local[..., 2]
        flat = local[..., :2] * local.new_tensor([1.0, -1.0])
        return self.centre + self.focal * flat / depth.clamp_min(1e-6).unsqueeze(-1), depth

    def look_up(self, picture: Tensor, points: Tensor, outside: float) -> Tensor:
        """``picture`` [H, W] at the pixels that hold ``points`` [..., 3]; ``outside`` where none
        does.
        """
        pixel, depth = self.project(points)
        width, height = picture.shape[1], picture.shape[0]
        column, row = pixel.unbind(-1)
        held = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        flat = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
        return torch.where(held, picture.flatten()[flat], picture.new_tensor(outside))
