"""What a model looks like from all around, and how far away its surface is there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera, fibonacci_sphere, look_at
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render

# Share of a ray's attention that lies on points in front of what counts as the surface.
FRONT_SHARE = 0.1


@dataclass(frozen=True)
class Around:
    """V images of one model, on the CPU.

    Attributes:
        rgb: [V, H, W, 3] in [0, 1] over the background. alpha: [V, H, W] in [0, 1].
        depth: [V, H, W] planar, world units, mean of the points that a ray attends to.
        front: [V, H, W] planar depth where the first tenth of that attention ends: the surface
            itself, where the mean lies between the object's front and its back.
        cameras: V of them.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    front: Tensor
    cameras: tuple[Camera, ...]


def surrounding_cameras(
    count: int, radius: float, fov_deg: float, size: tuple[int, int]
) -> list[Camera]:
    """`count` cameras spread evenly over a sphere; size is (width, height) in pixels."""
    angle = float(np.radians(fov_deg))
    return [Camera.from_angle_x(look_at(radius * d), *size, angle) for d in fibonacci_sphere(count)]


@torch.inference_mode()
def look_around(
    model: Papr,
    cameras: Sequence[Camera],
    *,
    background: float = 1.0,
    precision: str = "auto",
) -> Around:
    """Render a model from all cameras, on the device it is on."""
    positions = model.points.rows().positions
    shown = []
    for camera in cameras:
        output = render(
            model,
            camera_rays(camera).to(positions.device),
            background=background,
            precision=precision,
            max_rays=4096,
        )
        front = front_depth(positions, output.indices, output.attention_weights, camera)
        seen = (output.rgb, output.alpha, output.depth, front)
        shown.append([part.cpu() for part in seen])
    rgb, alpha, depth, front = (torch.cat(parts) for parts in zip(*shown, strict=True))
    return Around(rgb, alpha, depth, front, tuple(cameras))


def front_depth(
    positions: Tensor, indices: Tensor, weights: Tensor, camera: Camera, share: float = FRONT_SHARE
) -> Tensor:
    """Planar depth [B, H, W] up to which `share` of each ray's attention lies.

    Args:
        positions: [P, 3]. indices, weights: [B, H, W, K] points of each ray and their attention,
            which sums to 1.
    """
    eye = torch.tensor(camera.position.tolist()).to(positions)
    forward = torch.tensor(camera.forward.tolist()).to(positions)
    planar, order = ((positions - eye) @ forward)[indices].sort(dim=-1)
    passed = weights.gather(-1, order).float().cumsum(-1)
    first = (passed < share).sum(-1, keepdim=True).clamp(max=passed.shape[-1] - 1)
    return planar.gather(-1, first).squeeze(-1)
