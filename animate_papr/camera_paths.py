"""Where the camera stands in each image of a video.

Conventions (blender_render.geometry.cameras): world right-handed with +Z up, object centred at the
origin with longest side 1; azimuth 0 is the input view (the camera at −Y), grows counter-clockwise
seen from above; elevation is positive above the object. Every path looks at the origin and, except
`fixed`, closes on itself: the image after the last one would be the first, so that a looping
video does not stutter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from blender_render.geometry.cameras import Camera, look_at, spherical
from training_core.config import option

# Straight above the object the image would spin on its own axis: there is no "up" to keep.
STEEPEST_DEG = 89.0


KINDS = ("orbit", "turntable", "fixed", "spiral", "figure_eight")


@dataclass
class PathConfig:
    """A camera path; angles in degrees, lengths in units of the normalised scene."""

    kind: str = option(
        "orbit", "way of the camera; turntable = orbit in which time stands still", KINDS
    )
    views: int = option(0, "number of pictures; 0 = one per moment (turntable: 60)")
    azimuth_deg: float = option(0.0, "azimuth of the first picture")
    elevation_deg: float = option(15.0, "elevation, for spiral and figure_eight the middle one")
    turns: float = option(
        1.0, "turns around the object: orbit, turntable, spiral; negative = clockwise"
    )
    swing_deg: float = option(
        30.0, "half the elevation range of spiral, azimuth range of figure_eight"
    )
    radius: float = option(0.0, "distance to the origin; 0 = that of the dataset's cameras")
    fov_deg: float = option(0.0, "horizontal field of view; 0 = that of the dataset's cameras")
    width: int = option(0, "picture width in pixels; 0 = that of the dataset")
    height: int = option(0, "picture height in pixels; 0 = that of the dataset")

    def validate(self) -> None:
        """Raises ValueError where no path can be made of these values."""
        if self.views < 0 or self.width < 0 or self.height < 0 or self.radius < 0:
            raise ValueError("views, width, height and radius must not be negative")
        if not 0 <= self.fov_deg < 180:
            raise ValueError(f"fov_deg is {self.fov_deg}; it must lie in [0, 180)")
        if abs(self.elevation_deg) > STEEPEST_DEG:
            raise ValueError(f"elevation_deg must lie within ±{STEEPEST_DEG:g}")


def circle(config: PathConfig, progress: float) -> tuple[float, float]:
    """(azimuth, elevation) in degrees on a circle around the object; progress in [0, 1)."""
    return config.azimuth_deg + 360.0 * config.turns * progress, config.elevation_deg


def fixed(config: PathConfig, progress: float) -> tuple[float, float]:
    """(azimuth, elevation) in degrees of a camera that does not move."""
    return config.azimuth_deg, config.elevation_deg


def spiral(config: PathConfig, progress: float) -> tuple[float, float]:
    """(azimuth, elevation) in degrees: around the object while rising, sinking and rising."""
    rise = config.swing_deg * math.sin(2 * math.pi * progress)
    return config.azimuth_deg + 360.0 * config.turns * progress, config.elevation_deg + rise


def figure_eight(config: PathConfig, progress: float) -> tuple[float, float]:
    """(azimuth, elevation) in degrees on a lying eight, half as high as it is wide."""
    phase = 2 * math.pi * progress
    across = config.swing_deg * math.sin(phase)
    return config.azimuth_deg + across, config.elevation_deg + config.swing_deg / 2 * math.sin(
        2 * phase
    )


PATHS: dict[str, Callable[[PathConfig, float], tuple[float, float]]] = {
    "orbit": circle,
    "turntable": circle,
    "fixed": fixed,
    "spiral": spiral,
    "figure_eight": figure_eight,
}


def path_cameras(config: PathConfig, count: int) -> list[Camera]:
    """`count` cameras evenly spread in time over the path.

    radius, fov_deg, width and height of `config` must be set (no zeros).
    Raises ValueError where they are not, or where count < 1.
    """
    if count < 1:
        raise ValueError(f"a camera path needs at least one picture, not {count}")
    if not (config.radius and config.fov_deg and config.width and config.height):
        raise ValueError("radius, fov_deg, width and height of a camera path must be set")
    cameras = []
    for k in range(count):
        azimuth, elevation = PATHS[config.kind](config, k / count)
        elevation = min(max(elevation, -STEEPEST_DEG), STEEPEST_DEG)
        pose = look_at(spherical(azimuth, elevation, config.radius))
        angle_x = math.radians(config.fov_deg)
        cameras.append(Camera.from_angle_x(pose, config.width, config.height, angle_x))
    return cameras
