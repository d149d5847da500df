"""Cameras and where to put them: pure NumPy, no Blender.

Conventions, used by every function here and written into every dataset:

* The world is right-handed with +Z up.
* A camera looks along its own −Z, +X is right in the image and +Y is up (OpenGL and Blender).
  ``cam_to_world`` takes points from the camera's frame to the world's.
* Pixel (x, y): x grows to the right, y downwards, row 0 is the top, centres lie at half-integers.
* Depth is planar: along the optical axis, not along the ray.
* Azimuth grows counter-clockwise seen from above (from +Z, looking down). Azimuth 0 is the front
  of the asset, which is also the input view: glTF's forward +Z becomes −Y in Blender, so the
  camera at azimuth 0 stands at −Y and looks along +Y; at azimuth 90 it stands at +X.
* Elevation is positive when the camera stands above the object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Vector = Sequence[float] | npt.NDArray[Any]

GOLDEN_ANGLE_RAD = math.pi * (3.0 - math.sqrt(5.0))
LAYOUTS = ("fibonacci", "uniform", "hemisphere", "orbit")
UNIT_CUBE_RADIUS = math.sqrt(3.0) / 2.0
VIEW_AZIMUTHS_DEG = (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Args:
        cam_to_world: [4, 4], OpenGL axes; copied to float64.
        width, height, fl_x, fl_y, cx, cy: size, focal lengths, principal point, all in pixels.

    Raises:
        ValueError: the matrix is not 4x4, or a size or focal length is not positive.
    """

    cam_to_world: Array
    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        matrix = np.array(self.cam_to_world, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise ValueError(f"cam_to_world must be 4x4, got shape {matrix.shape}")
        matrix.setflags(write=False)
        object.__setattr__(self, "cam_to_world", matrix)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"picture size must be positive, got {self.width}x{self.height}")
        if not (self.fl_x > 0 and self.fl_y > 0):
            raise ValueError(f"focal lengths must be positive, got {self.fl_x}, {self.fl_y}")

    @classmethod
    def from_angle_x(
        cls, cam_to_world: npt.ArrayLike, width: int, height: int, camera_angle_x: float
    ) -> Camera:
        """A camera with square pixels and a centred principal point.

        ``camera_angle_x`` is the horizontal field of view in radians, in (0, π).
        """
        if not 0.0 < camera_angle_x < math.pi:
            raise ValueError(f"camera_angle_x must lie in (0, pi), got {camera_angle_x}")
        focal = 0.5 * width / math.tan(0.5 * camera_angle_x)
        matrix = np.asarray(cam_to_world, dtype=np.float64)
        return cls(matrix, width, height, focal, focal, width / 2, height / 2)

    @property
    def camera_angle_x(self) -> float:
        """Horizontal field of view in radians."""
        return 2.0 * math.atan(0.5 * self.width / self.fl_x)

    @property
    def position(self) -> Array:
        """Centre of the camera in the world, [3]."""
        return self.cam_to_world[:3, 3]

    @property
    def forward(self) -> Array:
        """Unit direction of the optical axis in the world, [3]."""
        return -self.cam_to_world[:3, 2]

    @cached_property
    def world_to_cam(self) -> Array:
        """Inverse of ``cam_to_world``, [4, 4]."""
        return np.linalg.inv(self.cam_to_world)

    @property
    def axes_to_pixels(self) -> Array:
        """From the camera's axes to (x, y, 1) times planar depth, in pixels, [3, 3]."""
        return np.array([[self.fl_x, 0, -self.cx], [0, -self.fl_y, -self.cy], [0, 0, -1.0]])

    @property
    def projection(self) -> Array:
        """From world points (x, y, z, 1) to (x, y, 1) times planar depth, in pixels, [3, 4]."""
        return self.axes_to_pixels @ self.world_to_cam[:3]

    def resized(self, width: int, height: int) -> Camera:
        """The same camera for an image scaled to another size (aspect may change)."""
        sx, sy = width / self.width, height / self.height
        fl_x, fl_y, cx, cy = self.fl_x * sx, self.fl_y * sy, self.cx * sx, self.cy * sy
        return Camera(self.cam_to_world, width, height, fl_x, fl_y, cx, cy)

    def project(self, points: npt.ArrayLike) -> tuple[Array, Array]:
        """World points [N, 3] → pixels [N, 2] as (x, y), and planar depth [N] in scene units.

        Points at or behind the camera plane have depth ≤ 0 and pixels that mean nothing (NaN
        where the depth is exactly 0).
        """
        local = (
            np.asarray(points, dtype=np.float64) @ self.world_to_cam[:3, :3].T
            + self.world_to_cam[:3, 3]
        )
        depth = -local[:, 2]
        safe = np.where(depth == 0.0, np.nan, depth)
        x = self.cx + self.fl_x * local[:, 0] / safe
        y = self.cy - self.fl_y * local[:, 1] / safe
        return np.stack([x, y], axis=1), depth


def look_at(
    position: Vector, target: Vector = (0.0, 0.0, 0.0), up: Vector = (0.0, 0.0, 1.0)
) -> Array:
    """Camera-to-world [4, 4] of a camera at ``position`` that looks at ``target``.

    Looking along ``up`` leaves the roll free; then the image's right is the world axis least
    aligned with the view (+X for straight up and down), which continues azimuth 0 smoothly.

    Raises:
        ValueError: position and target coincide.
    """
    eye = np.asarray(position, dtype=np.float64)
    back = eye - np.asarray(target, dtype=np.float64)
    length = float(np.linalg.norm(back))
    if not length > 0.0:
        raise ValueError("look_at: position and target coincide")
    back = back / length
    right = np.cross(np.asarray(up, dtype=np.float64), back)
    if np.linalg.norm(right) < 1e-8 * max(1.0, float(np.linalg.norm(up))):
        right = np.eye(3)[int(np.argmin(np.abs(back)))]
        right = right - back * float(right @ back)
    right = right / np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, eye], axis=1)
    return matrix


def spherical(azimuth_deg: float, elevation_deg: float, radius: float = 1.0) -> Array:
    """Point [3] at the given angles around the origin: (0, 0) is −Y, (90, 0) is +X."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return radius * np.array(
        [
            math.cos(elevation) * math.sin(azimuth),
            -math.cos(elevation) * math.cos(azimuth),
            math.sin(elevation),
        ]
    )


def fibonacci_sphere(n: int, turn_rad: float = 0.0) -> Array:
    """``n`` almost evenly spread unit directions [n, 3], from the top down, turned about +Z."""
    index = np.arange(n)
    z = 1.0 - (2.0 * index + 1.0) / n
    return _ring(GOLDEN_ANGLE_RAD * index + turn_rad, z)


def fibonacci_band(
    count: int, elevation_min_deg: float, elevation_max_deg: float, turn_rad: float
) -> Array:
    """``count`` unit directions [count, 3], evenly spread between two elevations.

    They are a run of consecutive points of a larger Fibonacci sphere, which goes from the top
    down; the run starts at most half a step off the band, and never beyond a pole.
    """
    low, high = (math.sin(math.radians(e)) for e in (elevation_min_deg, elevation_max_deg))
    total = max(count, round(count * 2.0 / (high - low)))
    first = min(round(total * (1.0 - high) / 2.0), total - count)
    return fibonacci_sphere(total, turn_rad)[first : first + count]


def uniform_sphere(n: int, rng: np.random.Generator, lowest_z: float = -1.0) -> Array:
    """``n`` independent unit directions [n, 3], uniform over the sphere's area above a height."""
    z = rng.uniform(lowest_z, 1.0, n)
    return _ring(rng.uniform(0.0, 2.0 * math.pi, n), z)


def orbit(n: int, elevation_deg: float = 0.0) -> Array:
    """``n`` unit directions [n, 3] on a ring, evenly spaced counter-clockwise from azimuth 0."""
    return np.stack([spherical(360.0 * i / n, elevation_deg) for i in range(n)])


def _ring(azimuth_rad: Array, z: Array) -> Array:
    flat = np.sqrt(np.maximum(0.0, 1.0 - z * z))
    return np.stack([flat * np.sin(azimuth_rad), -flat * np.cos(azimuth_rad), z], axis=1)


def multiview_cameras(
    count: int,
    radius: float,
    camera_angle_x: float,
    resolution: tuple[int, int],
    seed: int = 0,
    layout: str = "fibonacci",
    *,
    elevation_deg: float = 0.0,
    band_deg: tuple[float, float] = (-90.0, 90.0),
) -> tuple[Camera, ...]:
    """Cameras at ``radius`` around the origin, all looking at it.

    Args:
        camera_angle_x: horizontal field of view, radians.
        resolution: (width, height) in pixels.
        seed: draws the directions of ``uniform`` and ``hemisphere`` and the turn of ``fibonacci``
            about +Z, so that two seeds give two different sets.
        layout: one of ``LAYOUTS``.
        elevation_deg: elevation of the ring for ``orbit``.
        band_deg: lowest and highest elevation for ``fibonacci``.

    Raises:
        ValueError: unknown layout or a count below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    rng = np.random.default_rng(seed)
    if layout == "fibonacci":
        directions = fibonacci_band(count, *band_deg, rng.uniform(0.0, 2.0 * math.pi))
    elif layout == "uniform":
        directions = uniform_sphere(count, rng)
    elif layout == "hemisphere":
        directions = uniform_sphere(count, rng, lowest_z=0.0)
    elif layout == "orbit":
        directions = orbit(count, elevation_deg)
    else:
        raise ValueError(f"unknown layout {layout!r}; one of {', '.join(LAYOUTS)}")
    width, height = resolution
    return tuple(
        Camera.from_angle_x(look_at(radius * d), width, height, camera_angle_x) for d in directions
    )


@dataclass(frozen=True)
class SixViewRig:
    """Six cameras around the origin in tile order (row-major, 3 rows of 2).

    Attributes:
        azimuths_deg: relative to the input view.
        elevations_deg: absolute.
        fov_deg: field of view of the square images.
        distance: of all cameras, the input's included, from the origin in scene units.
        object_radius: of the sphere around the origin in which the object must lie for the
            distance to suit it; √3/2 holds every box whose longest side is 1.
    """

    azimuths_deg: tuple[float, ...]
    elevations_deg: tuple[float, ...]
    fov_deg: float
    distance: float
    object_radius: float

    def camera(self, azimuth_deg: float, elevation_deg: float, resolution: int) -> Camera:
        """A square camera with this rig's lens and distance at absolute angles."""
        pose = look_at(spherical(azimuth_deg, elevation_deg, self.distance))
        return Camera.from_angle_x(pose, resolution, resolution, math.radians(self.fov_deg))


# v1.1 fixes no distance. The usual 1.5 clips the corners of a unit cube; this is the nearest
# distance that shows the cube's bounding sphere whole, 2.083.
SIXVIEW_RIGS = {
    "v1.1": SixViewRig(
        VIEW_AZIMUTHS_DEG,
        (30.0, -20.0) * 3,
        49.13,
        UNIT_CUBE_RADIUS / math.sin(0.5 * math.radians(49.13)),
        UNIT_CUBE_RADIUS,
    ),
    "v1.2": SixViewRig(VIEW_AZIMUTHS_DEG, (20.0, -10.0) * 3, 30.0, 1.866, 0.5),
}


def sixview_cameras(
    rig: SixViewRig, resolution: int, input_azimuth_deg: float = 0.0
) -> tuple[Camera, ...]:
    """The six target cameras in tile order; ``resolution`` is the side of a view in pixels."""
    return tuple(
        rig.camera(input_azimuth_deg + azimuth, elevation, resolution)
        for azimuth, elevation in zip(rig.azimuths_deg, rig.elevations_deg, strict=True)
    )
