"""From our cameras to Zero123's: its camera vector, its field of view, its unit of length.

Zero123 was trained on objects whose bounding box has longest side 1, centred, seen by cameras 1.5
to 2.2 away that look at the centre without roll, with a 35 mm lens before a 32 mm sensor, on white
(cvlab-columbia/zero123, objaverse-rendering/scripts/blender_script.py). Its world has +Z up and
its cameras are OpenGL's, as ours, so only lengths and lenses need a change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Array, Camera, look_at
from training_core.config import ConfigError

HALF_TAN = 16.0 / 35.0
FOV_DEG = 2.0 * math.degrees(math.atan(HALF_TAN))  # 49.13
RADII = (1.5, 2.2)
# How far a target camera may be from the one Zero123 means before it is refused.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Zero123Cameras:
    """Maps cameras of a world in which the object is around the origin, +Z up.

    Attributes:
        object_length: longest side of the object's bounding box, world units.
        clamp: bring radii into ``RADII``. The nearer or farther camera that this means shows the
            object as large as it would be there; perspective stays that of the true distance.
        fourth: ``radius_difference``, or ``condition_polar`` for Stable Zero123.
    """

    object_length: float = 1.0
    clamp: bool = False
    fourth: str = "radius_difference"

    def radius(self, camera: Camera) -> float:
        """Distance from the origin in Zero123's unit."""
        radius = float(np.linalg.norm(camera.position)) / self.object_length
        return min(max(radius, RADII[0]), RADII[1]) if self.clamp else radius

    def in_range(self, camera: Camera) -> bool:
        """Whether Zero123 was trained at this distance."""
        radius = float(np.linalg.norm(camera.position)) / self.object_length
        return RADII[0] - 1e-6 <= radius <= RADII[1] + 1e-6

    def camera(self, camera: Camera, size: int) -> Camera:
        """What Zero123 means by a camera at this place: looks at the origin, no roll, its lens.

        Args:
            size: side of its square image, pixels.
        """
        distance = float(np.linalg.norm(camera.position)) / self.object_length
        half_tan = HALF_TAN * self.radius(camera) / distance
        focal = 0.5 * size / half_tan
        pose = look_at(camera.position)
        return Camera(pose, size, size, focal, focal, size / 2, size / 2)

    def vectors(self, condition: Camera, targets: Sequence[Camera]) -> Tensor:
        """Camera vectors [B, 4] of targets seen from the view that is the condition.

        The entries (ldm/data/simple.py, get_T): polar angle of the target minus that of the
        condition in radians, so minus the change of elevation; sine and cosine of the change of
        azimuth, counter-clockwise seen from above; change of radius. Stable Zero123 has the
        condition's polar angle in the last place (threestudio, stable_zero123_guidance.py).
        """
        polar, azimuth = _angles(condition)
        rows = []
        for target in targets:
            target_polar, target_azimuth = _angles(target)
            turn = target_azimuth - azimuth
            fourth = self.radius(target) - self.radius(condition)
            if self.fourth == "condition_polar":
                fourth = polar
            rows.append([target_polar - polar, math.sin(turn), math.cos(turn), fourth])
        return torch.tensor(rows, dtype=torch.float32)

    def require(self, target: Camera) -> None:
        """Refuse a target camera whose image Zero123 would misread.

        Raises:
            ConfigError: not square, another field of view, or not upright towards the origin.
        """
        if target.width != target.height:
            raise ConfigError(
                f"Zero123 needs square target views, this one is {target.width}x{target.height}"
            )
        meant = self.camera(target, target.width)
        ratio = max(target.fl_x / meant.fl_x, target.fl_y / meant.fl_y, key=_departure)
        if _departure(ratio) > _TOLERANCE:
            raise ConfigError(
                f"Zero123 needs target views with a field of view of "
                f"{math.degrees(meant.camera_angle_x):.2f} degrees at this distance, "
                f"this one has {math.degrees(target.camera_angle_x):.2f}"
            )
        shift = max(abs(target.cx - meant.cx), abs(target.cy - meant.cy)) / target.width
        # Over the pole the roll is free, and look_at chooses one.
        turned = np.abs(target.cam_to_world[:3, :3] - meant.cam_to_world[:3, :3]).max()
        if max(shift, turned) > _TOLERANCE:
            raise ConfigError("Zero123 needs target views that look at the origin, upright")


def seen_by(image: Tensor, camera: Camera, wanted: Camera, background: float = 1.0) -> Tensor:
    """The image that ``wanted``, at the same place as ``camera``, would have taken.

    Exact padding and cropping in one: any lens, principal point, or turn about the eye. Averages
    the pixels that fall into a larger one.

    Args:
        image: [C, H, W], taken by ``camera`` (whatever size that has).
        background: beyond the image's edges.

    Returns:
        [C, h, w] in the size of ``wanted``.
    """
    height, width = image.shape[-2:]
    source = camera.resized(width, height)
    fold = max(1, math.ceil(max(source.fl_x / wanted.fl_x, source.fl_y / wanted.fl_y) - 1e-6))
    fine = wanted.resized(wanted.width * fold, wanted.height * fold)
    x = (np.arange(fine.width) + 0.5 - fine.cx) / fine.fl_x
    y = -(np.arange(fine.height) + 0.5 - fine.cy) / fine.fl_y
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    rays = np.stack([grid_x, grid_y, -np.ones_like(grid_x)], -1) @ _turn(fine, source).T
    ahead = rays[..., 2] < -1e-9
    depth = np.where(ahead, -rays[..., 2], 1.0)
    # grid_sample: -1 and 1 are the outer edges of the first and the last pixel.
    across = 2.0 * (source.cx + source.fl_x * rays[..., 0] / depth) / width - 1.0
    down = 2.0 * (source.cy - source.fl_y * rays[..., 1] / depth) / height - 1.0
    places = np.where(ahead[..., None], np.stack([across, down], -1), 9.0)
    grid = torch.from_numpy(places).to(image.device, image.dtype)
    # Zero beyond the edges, once the background is taken off.
    seen = F.grid_sample(image[None] - background, grid[None], align_corners=False)
    return F.avg_pool2d(seen, fold)[0] + background


def _departure(ratio: float) -> float:
    return abs(math.log(ratio))


def _angles(camera: Camera) -> tuple[float, float]:
    """Polar angle from +Z and azimuth from +X, radians; over the poles as look_at turns there."""
    x, y, z = camera.position
    flat = math.hypot(x, y)
    azimuth = math.atan2(y, x) if flat > 1e-8 * abs(z) else -0.5 * math.pi
    return math.atan2(flat, z), azimuth


def _turn(start: Camera, end: Camera) -> Array:
    """Rotation [3, 3] of directions in the first camera's frame into the second's."""
    return end.cam_to_world[:3, :3].T @ start.cam_to_world[:3, :3]
