"""Volumes that lie behind the pixels of a picture, and their volume rendering.

A cell of such a volume belongs to one pixel of the picture and one depth. Rendering is the emission
and absorption of NeRF (Mildenhall et al. 2020, equation 3) over samples that are interpolated
between cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera

# Depths of the cells, and reach of the rays, before and behind the origin, where the object is:
# half the diagonal of a cube of side 1 would be 0.87, which no character fills.
REACH = 0.75
# Half the edge of the cube in which boxes of parts are sought, which holds all that a volume can,
# and the cells of its grid along an edge.
_EXTENT, _COARSE = 1.0, 40
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

    def places(self, picture: Tensor, behind: Tensor) -> Tensor:
        """World points [..., 3]: the inverse of ``cells``.

        Args:
            picture: [..., 2], (x, y) in shares of the picture's width and height.
            behind: [..., 1], depth behind the origin, world units.
        """
        depth = self.distance + behind
        across = (picture - self.centre) / self.focal * depth
        local = torch.cat([across[..., :1], -across[..., 1:], -depth], dim=-1)
        return (local - self.world_to_cam[:, 3]) @ self.world_to_cam[:, :3]

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


Box = tuple[Tensor, Tensor]


class Part(NamedTuple):
    """Of a body that moves.

    Attributes:
        volume: where it is at rest.
        source: places in the world [..., 3] → where at rest what is there now comes from; None = it
            rests.
        box: corners [3] in the world, outside which there is nothing of it; see ``bounded``.
    """

    volume: Volume
    source: Callable[[Tensor], Tensor] | None = None
    box: Box | None = None


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
    parts: Sequence[Part], frustum: Frustum, rays: Rays, samples: int
) -> tuple[Tensor, Tensor]:
    """See a body along rays; where parts overlap, the densest is seen.

    Args:
        samples: N, evenly spaced over the reach of a ray.

    Returns:
        Colour times opacity [R, 3], opacity [R].
    """
    spacing = 2.0 * REACH / samples
    steps = torch.arange(samples, device=rays.middle.device)
    along = rays.middle[:, None] - REACH + (steps + 0.5) * spacing
    points = rays.origin[:, None] + along[..., None] * rays.direction[:, None]
    filled = _within(points, _around([part.box for part in parts]))
    density, colour = along.new_zeros(along.shape), torch.zeros_like(points)
    density[filled], colour[filled] = _densest(parts, frustum, points[filled])
    passed = torch.cumsum(density * spacing, dim=-1)
    before = F.pad(passed[:, :-1], (1, 0))
    weight = (-before).exp() - (-passed).exp()
    return (weight[..., None] * colour).sum(-2), weight.sum(-1)


def _densest(parts: Sequence[Part], frustum: Frustum, points: Tensor) -> tuple[Tensor, Tensor]:
    """Density [M] and colour [M, 3] of the densest part at places [M, 3] in the world."""
    density, colour = points.new_zeros(len(points)), torch.zeros_like(points)
    for part in parts:
        near = _within(points, part.box)
        places = points[near]
        cells = frustum.cells(places if part.source is None else part.source(places))
        denser = torch.zeros_like(density)
        denser[near] = look_up_density(part.volume, cells)
        wins = denser > density
        density = torch.where(wins, denser, density)
        colour[wins] = look_up_colour(part.volume, cells[wins[near]])
    return density, colour


def _within(points: Tensor, box: Box | None) -> Tensor:
    """Bool: which of the places [..., 3] are in a box; None = everywhere."""
    if box is None:
        return torch.ones(points.shape[:-1], dtype=torch.bool, device=points.device)
    # One axis after the other: a comparison of all three needs thrice the memory.
    made = (points[..., 0] > box[0][0]) & (points[..., 0] < box[1][0])
    for axis in (1, 2):
        made &= (points[..., axis] > box[0][axis]) & (points[..., axis] < box[1][axis])
    return made


def _around(boxes: Sequence[Box | None]) -> Box | None:
    """The box around boxes; None where one of them is unknown."""
    known = [box for box in boxes if box is not None]
    if len(known) < len(boxes):
        return None
    low, high = (torch.stack(corners) for corners in zip(*known, strict=True))
    return low.amin(0), high.amax(0)


def bounded(part: Part, frustum: Frustum) -> Part:
    """The part with its box, so that ``render`` leaves empty space out, which is most of it.

    Found on a coarse grid, with a margin of its spacing on both sides: right for
    motions that stretch nothing to twice its length.
    """
    spacing = 2.0 * _EXTENT / _COARSE
    steps = (torch.arange(_COARSE) + 0.5) * spacing - _EXTENT
    points = torch.cartesian_prod(steps, steps, steps)
    cells = frustum.cells(points if part.source is None else part.source(points))
    low, high = _filled_cells(part.volume.density)
    # A cell's unit is half the picture's width, or the reach.
    across = 2.0 * frustum.focal / (frustum.distance - REACH)
    margin = 2.0 * spacing * torch.cat([across, torch.tensor([1.0 / REACH])])
    found = points[((cells > low - margin) & (cells < high + margin)).all(-1)]
    if not len(found):
        return part._replace(box=(torch.zeros(3), torch.zeros(3)))
    return part._replace(box=(found.amin(0) - spacing, found.amax(0) + spacing))


def _filled_cells(density: Tensor) -> tuple[Tensor, Tensor]:
    """Corners [3], as of ``Frustum.cells``, of what is filled of [D, H, W]; none: infinities."""
    corners = []
    for axis in (2, 1, 0):
        others = [a for a in range(3) if a != axis]
        filled = (density.amax(others) > 0.0).nonzero()[:, 0]
        size = density.shape[axis]
        # Cells are interpolated, so each reaches to the middle of its neighbours.
        ends = (int(filled[0]) - 0.5, int(filled[-1]) + 1.5) if len(filled) else (math.inf,) * 2
        corners.append([2.0 * end / size - 1.0 for end in ends])
    low, high = torch.tensor(corners).unbind(-1)
    return low, high


def look_up_density(volume: Volume, cells: Tensor) -> Tensor:
    """[M] at places [M, 3] of ``Frustum.cells``."""
    places = cells[None, None, None]
    return F.grid_sample(volume.density[None, None], places, align_corners=False)[0, 0, 0, 0]


def look_up_colour(volume: Volume, cells: Tensor) -> Tensor:
    """[M, 3] at places [M, 3] of ``Frustum.cells``."""
    places = cells[None, None, :, :2]
    front, back = (
        F.grid_sample(picture[None], places, padding_mode="border", align_corners=False)[0, :, 0].T
        for picture in (volume.front, volume.back)
    )
    share = (cells[:, 2:] * REACH / _SEAM + 0.5).clamp(0.0, 1.0)
    return torch.lerp(front, back, share)
