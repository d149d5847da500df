"""Volumes that lie behind the pixels of a picture, and their volume rendering.

A cell of such a volume belongs to one pixel of the picture and one depth. Rendering is the emission
and absorption of NeRF (Mildenhall et al. 2020, equation 3) over samples that are interpolated
between cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera

# Depths of the cells, and reach of the rays, before and behind the origin, where the object is:
# half the diagonal of a cube of side 1 would be 0.87, which no character fills.
REACH = 0.75
# Depth over which the front's colours become the back's, world units.
_SEAM = 0.05


class Frustum(NamedTuple):
    """A camera in front of an object at the origin.

    Attributes:
        world_to_cam: [3, 4], OpenGL axes.
        focal, centre: [2], in shares of the picture's width and height.
        distance: from the camera to the origin along the optical axis.
    """

    world_to_cam: Tensor
    focal: Tensor
    centre: Tensor
    distance: Tensor

    @classmethod
    def of(cls, camera: Camera) -> Frustum:
        """That of ``camera``."""
        pose = torch.from_numpy(camera.world_to_cam[:3].copy()).float()
        size = torch.tensor([camera.width, camera.height])
        focal = torch.tensor([camera.fl_x, camera.fl_y]) / size
        return cls(pose, focal, torch.tensor([camera.cx, camera.cy]) / size, -pose[2, 3])

    def cells(self, points: Tensor) -> Tensor:
        """Where world points [..., 3] lie in the volume, as ``grid_sample`` wants it.

        Returns:
            (x, y, depth) [..., 3]: the picture and the reach are -1 to 1.
        """
        local = points @ self.world_to_cam[:, :3].T + self.world_to_cam[:, 3]
        depth = (-local[..., 2]).clamp_min(1e-3)
        flipped = torch.stack([local[..., 0], -local[..., 1]], dim=-1)
        place = self.centre + self.focal * flipped / depth[..., None]
        behind = (depth - self.distance) / REACH
        return torch.cat([2.0 * place - 1.0, behind[..., None]], dim=-1)

    def pixel(self, size: int) -> float:
        """Width in world units of a pixel at the origin's depth, of a picture of ``size``."""
        return float(self.distance / self.focal[0]) / size


class Volume(NamedTuple):
    """What a picture stands for.

    Attributes:
        density: [D, S, S] per world unit, not negative.
        front, back: [3, H, W] in [0, 1], colours of what is nearer to the camera than the origin,
            and of what is farther; around it they are mixed.
    """

    density: Tensor
    front: Tensor
    back: Tensor


class Rays(NamedTuple):
    """R rays.

    Attributes:
        origin, direction: [R, 3], world units, directions of length 1.
        middle: [R], the distance at which a ray is next to the origin.
    """

    origin: Tensor
    direction: Tensor
    middle: Tensor


def camera_rays(camera: Camera, places: Tensor | None = None) -> Rays:
    """The rays through the pixels of a camera.

    Args:
        places: numbers of pixels, row by row, [R]; None = all of them.
    """
    if places is None:
        places = torch.arange(camera.width * camera.height)
    x = (places % camera.width + 0.5 - camera.cx) / camera.fl_x
    y = (places // camera.width + 0.5 - camera.cy) / camera.fl_y
    pose = torch.from_numpy(camera.cam_to_world.copy()).float()
    direction = torch.stack([x, -y, torch.full_like(x, -1.0)], dim=-1).float() @ pose[:3, :3].T
    direction = F.normalize(direction, dim=-1)
    origin = pose[:3, 3].expand_as(direction)
    return Rays(origin, direction, -(origin * direction).sum(-1))


def render(
    volume: Volume,
    frustum: Frustum,
    rays: Rays,
    samples: int,
    source: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """See the volume along rays.

    Args:
        samples: N, evenly spaced over the reach of a ray.
        source: world points [R, N, 3] → where in the volume's world to look instead; None = there.

    Returns:
        Colour times opacity [R, 3], opacity [R].
    """
    spacing = 2.0 * REACH / samples
    steps = torch.arange(samples, device=rays.middle.device)
    along = rays.middle[:, None] - REACH + (steps + 0.5) * spacing
    points = rays.origin[:, None] + along[..., None] * rays.direction[:, None]
    cells = frustum.cells(points if source is None else source(points))
    density, colour = look_up(volume, cells)
    passed = torch.cumsum(density * spacing, dim=-1)
    before = F.pad(passed[:, :-1], (1, 0))
    weight = (-before).exp() - (-passed).exp()
    return (weight[..., None] * colour).sum(-2), weight.sum(-1)


def look_up(volume: Volume, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Density [R, N] and colour [R, N, 3] at places [R, N, 3] of ``Frustum.cells``; empty space is
    black.
    """
    density = F.grid_sample(volume.density[None, None], cells[None, None], align_corners=False)
    # Most samples are of empty space, whose colour nobody sees.
    filled = density[0, 0, 0] > 0.0
    places = cells[filled]
    front, back = (
        F.grid_sample(
            picture[None], places[None, None, :, :2], padding_mode="border", align_corners=False
        )[0, :, 0].T
        for picture in (volume.front, volume.back)
    )
    share = (places[:, 2:] * REACH / _SEAM + 0.5).clamp(0.0, 1.0)
    colour = torch.zeros_like(cells)
    colour[filled] = torch.lerp(front, back, share)
    return density[0, 0, 0], colour
