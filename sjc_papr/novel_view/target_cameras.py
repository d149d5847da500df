"""Cameras of views without images, and the training views nearest to them.

Conventions are those of ``blender_render.geometry.cameras``: +Z up, OpenGL axes, the object's box
centred on the origin.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from blender_render.geometry.cameras import UNIT_CUBE_RADIUS, Camera, look_at, spherical
from sjc_papr.novel_view.geometry_config import TargetConfig
from training_core.config import ConfigError


class TargetCameras:
    """Draws cameras around the object that look at the origin, upright.

    They stand at the training cameras' distance and see what these see: the focal length follows
    the size of the image asked for, so a small image is a small view of everything, not a
    keyhole.

    Args:
        cameras: of the training views; never changed.
        config: where targets stand.
        object_length: of the longest side of the object's box, world units.

    Raises:
        ConfigError: the nearest target could stand inside the object.
    """

    def __init__(
        self, cameras: Sequence[Camera], config: TargetConfig, object_length: float = 1.0
    ) -> None:
        self.config = config
        distance = float(np.median([np.linalg.norm(c.position) for c in cameras]))
        self.radii = (config.radius_min * distance, config.radius_max * distance)
        inside = UNIT_CUBE_RADIUS * object_length
        if self.radii[0] <= inside:
            raise ConfigError(
                f"novel.targets.radius_min: targets at {self.radii[0]:.3g} world units would stand "
                f"inside the object, whose box may reach {inside:.3g} from the origin"
            )
        # Of the image's half width and half height at unit distance: the widest lens there is.
        self.half_width = max(0.5 * c.width / c.fl_x for c in cameras)
        self.half_height = max(0.5 * c.height / c.fl_y for c in cameras)
        if config.fov_deg:
            half = math.tan(math.radians(0.5 * config.fov_deg))
            longer = max(self.half_width, self.half_height)
            self.half_width *= half / longer
            self.half_height *= half / longer

    def sample(
        self, generator: torch.Generator, count: int, resolution: int | tuple[int, int]
    ) -> list[Camera]:
        """``count`` cameras, uniform over the sphere's area between the elevations.

        Args:
            generator: a CPU generator; three numbers are drawn for each camera.
            resolution: side of the square images, or (width, height), in pixels. Pixels are
                square, and all that the training images show is in the image.
        """
        width, height = (resolution, resolution) if isinstance(resolution, int) else resolution
        focal = min(0.5 * width / self.half_width, 0.5 * height / self.half_height)
        low, high = (
            math.sin(math.radians(angle))
            for angle in (self.config.elevation_min_deg, self.config.elevation_max_deg)
        )
        drawn = torch.rand(count, 3, generator=generator, dtype=torch.float64).tolist()
        sampled = []
        for turn, rise, reach in drawn:
            # Equal heights of a sphere cut off equal areas.
            elevation = math.degrees(math.asin(low + (high - low) * rise))
            radius = self.radii[0] + (self.radii[1] - self.radii[0]) * reach
            pose = look_at(spherical(360.0 * turn, elevation, radius))
            sampled.append(Camera(pose, width, height, focal, focal, width / 2, height / 2))
        return sampled


def nearest_views(cameras: Sequence[Camera], target: Camera, count: int) -> list[int]:
    """Indices of the ``count`` cameras whose view directions are closest to the target's.

    In order of angle; equal angles in order of index.
    """
    closeness = np.stack([camera.forward for camera in cameras]) @ target.forward
    return [int(i) for i in np.argsort(-closeness, kind="stable")[:count]]
