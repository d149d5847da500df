"""Do these poses look like camera-to-world, or are they inverted? Pure NumPy.

Cameras around an object look at a common point in front of them, from well separated places.
Inverting such a set (world-to-camera read as camera-to-world) destroys this: all centres then lie
where the first camera sees the world's origin, and the axes point in all directions, or all in one.
The test needs neither the object at the origin nor equal distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_CAMERAS = 3
# Looser than any camera that still shows its object: half of a 60° field of view.
MAX_AIM_DEG = 30.0
# Axes spread by less than about 6°, or centres by less than a tenth of the distance: such sets
# (forward-facing captures, one place seen again and again) do not look *around* a point.
MIN_AXIS_SPREAD = 0.01
MIN_CENTRE_SPREAD = 0.1


@dataclass(frozen=True, eq=False)
class Aim:
    """What a set of optical axes has in common.

    Attributes:
        point: [3], the world point nearest to all axes (least squares).
        aim_deg: median angle between a camera's axis and its direction to ``point``; 180 = behind.
        converges: whether the cameras stand around the point and look at it.
    """

    point: Array
    aim_deg: float
    converges: bool


def common_aim(poses: Array) -> Aim:
    """Where the cameras [N, 4, 4] (camera-to-world, OpenGL axes) look."""
    centres, axes = poses[:, :3, 3], -poses[:, :3, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal = across.mean(0)
    point = np.linalg.lstsq(normal, (across @ centres[:, :, None]).mean(0)[:, 0], rcond=1e-6)[0]
    to_point = point - centres
    distance = np.linalg.norm(to_point, axis=1)
    cosine = (to_point * axes).sum(1) / np.maximum(distance, 1e-12)
    aim_deg = float(np.degrees(np.median(np.arccos(np.clip(cosine, -1.0, 1.0)))))
    spread = float(np.sqrt(((centres - centres.mean(0)) ** 2).sum(1).mean()))
    converges = (
        len(poses) >= MIN_CAMERAS
        and aim_deg < MAX_AIM_DEG
        and float(np.linalg.eigvalsh(normal)[0]) > MIN_AXIS_SPREAD
        and spread > MIN_CENTRE_SPREAD * float(np.median(distance))
    )
    return Aim(point, aim_deg, converges)


def looks_inverted(poses: Array) -> bool:
    """Whether rigid poses [N, 4, 4] make sense only after inversion.

    False also when neither reading makes sense, and for fewer than three cameras.
    """
    return not common_aim(poses).converges and common_aim(np.linalg.inv(poses)).converges
