"""Do these poses look like camera-to-world, or are they inverted?

Cameras around an object look at a common point in front of them, from well separated places.
Inverting such a set (world-to-camera read as camera-to-world) destroys this: all centres then lie
where the first camera sees the world's origin, and the axes point in all directions, or all in one.
The test needs neither the object at the origin nor equal distances.

One case is left: with the object below the origin, at (0, 0, -k), cameras at distance r from it,
inverted, stand at distance k around (0, 0, -r) and look at that point, a perfect rig to the eye.
Then the images decide: only the true poses carve a visual hull that gives the outlines again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from blender_render.geometry.cameras import Camera
from blender_render.geometry.visual_hull import Hull, carve, reprojection_iou

Array = npt.NDArray[np.float64]

MIN_CAMERAS = 3
# Looser than any camera that still shows its object: half of a 60° field of view.
MAX_AIM_DEG = 30.0
# Axes spread by less than about 6°, or centres by less than a tenth of the distance: such sets
# (forward-facing captures, one place seen again and again) do not look *around* a point.
MIN_AXIS_SPREAD = 0.01
MIN_CENTRE_SPREAD = 0.1
# IoU from which poses are right without a doubt, and by which they must beat those of other images.
CLEAR_AGREEMENT, CLEARLY_BETTER = 0.7, 0.08
# With fewer or smaller images the values scatter too much to be compared.
ORDER_VIEWS, ORDER_SIDE = 12, 40
# IoU of outlines from different sides from which it does not matter whose poses they have.
ALIKE = 0.75
# Changes poses of OpenCV's axes (+Z forward, +Y down) into OpenGL's, and back.
OPENCV_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
# Enough images to test outlines against; more cost time and add nothing.
MAX_HULL_VIEWS = 32
# Distance of the cameras from the origin over the size of their rig: single precision (6e-8) then
# leaves steps of a thousandth of the rig or more.
FARTHEST = 1e4


class OutlineProblem(str):
    """What is wrong, where outlines alone say so: pictures drawn by a model need not agree."""


@dataclass(frozen=True, eq=False)
class Aim:
    """What a set of optical axes has in common.

    Attributes:
        point: [3], the world point nearest to all axes (least squares).
        aim_deg: median angle between a camera's axis and its direction to ``point``; 180 = behind.
        distance: median distance of the cameras from ``point``.
        converges: whether the cameras stand around the point and look at it.
    """

    point: Array
    aim_deg: float
    distance: float
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
    return Aim(point, aim_deg, float(np.median(distance)), converges)


def looks_inverted(cameras: Sequence[Camera], masks: Sequence[npt.NDArray[np.bool_]]) -> bool:
    """Whether rigid poses make sense only after inversion.

    False also when neither reading makes sense, and for fewer than three cameras.

    Args:
        masks: [H, W] of each camera's image; looked at only where the poses alone fit both ways.
    """
    flipped = [replace(c, cam_to_world=np.linalg.inv(c.cam_to_world)) for c in cameras]
    given, other = common_aim(stack_poses(cameras)), common_aim(stack_poses(flipped))
    if given.converges and other.converges:
        return hull_agreement(flipped, masks) > hull_agreement(cameras, masks)
    return other.converges and not given.converges


def lost_digits(cameras: Sequence[Camera]) -> str:
    """One phrase where cameras stand so far off that single precision cannot tell their rays apart;
    else empty. Cameras in one place are not judged.
    """
    places = np.stack([camera.position for camera in cameras])
    away, spread = np.linalg.norm(places.mean(0)), np.linalg.norm(places - places.mean(0), axis=1)
    one_place = spread.max() <= 1e-9 * away
    if one_place or away <= FARTHEST * spread.max():
        return ""
    return (
        f"the cameras stand {away:.3g} units from the origin, within {spread.max():.3g} units of "
        "each other; numbers so large lose their digits: move the scene to the origin"
    )


def stack_poses(cameras: Sequence[Camera]) -> Array:
    """Camera-to-world of N cameras, [N, 4, 4]."""
    return np.stack([c.cam_to_world for c in cameras])


def fits_its_poses(cameras: Sequence[Camera], masks: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Median IoU as of ``hull_agreement``; 0 where the poses in another order do as well.

    Large compact outlines agree by about a half whatever the poses. Such a value counts only if it
    falls when poses are mixed up, or if the outlines are alike from all sides, as a ball's are.
    """
    agreement, count = hull_agreement(cameras, masks), len(cameras)
    side = min((min(mask.shape) for mask in masks), default=0)
    if agreement >= CLEAR_AGREEMENT or count < ORDER_VIEWS or side < ORDER_SIDE:
        return agreement
    orders = [[(i + max(1, count // part)) % count for i in range(count)] for part in (2, 3, 5)]
    pairs = [
        (masks[i], masks[k]) for i, k in enumerate(orders[0]) if masks[i].shape == masks[k].shape
    ]
    alike = [(a & b).sum() / max((a | b).sum(), 1) for a, b in pairs]
    if alike and float(np.median(alike)) >= ALIKE:
        return agreement
    mixed = max(hull_agreement([cameras[k] for k in order], masks) for order in orders)
    return agreement if agreement > mixed + CLEARLY_BETTER else 0.0


def hull_agreement(cameras: Sequence[Camera], masks: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Median IoU of masks [H, W] with the re-projection of the visual hull carved from them.

    The masks may differ in size: the input view of a six-view video need not have that of the six.

    On its coarse grid true poses reach 0.7 to 0.85, wrong ones stay below about 0.5. 0 for an
    empty hull, or where fewer than three masks show both object and background.
    """
    shape = agreed_hull(cameras, masks)
    if shape is None:
        return 0.0
    hull, cameras, inside = shape
    return float(reprojection_iou(hull, inside, cameras).median())


def agreed_hull(
    cameras: Sequence[Camera],
    masks: Sequence[npt.NDArray[np.bool_]],
    most: int = MAX_HULL_VIEWS,
) -> tuple[Hull, list[Camera], list[torch.Tensor]] | None:
    """The coarse hull of masks [H, W], with the cameras and masks that it is carved from.

    None for an empty hull, or where fewer than three masks show both object and background.

    Args:
        most: so many images are used, spread over all.
    """
    step = math.ceil(len(cameras) / most)
    picked = [i for i in range(0, len(cameras), step) if 0 < masks[i].sum() < masks[i].size]
    if len(picked) < MIN_CAMERAS:
        return None
    used = [cameras[i] for i in picked]
    inside = [torch.from_numpy(masks[i]) for i in picked]
    aim = common_aim(stack_poses(used))
    # One and a half times what fits in an image: the object may be cut by the border.
    reach = 1.5 * aim.distance * math.tan(0.5 * used[0].camera_angle_x)
    if reach < 1e-6:
        return None
    low, high = aim.point - reach, aim.point + reach
    for resolution in (40, 72):
        hull = carve(inside, used, resolution, (low, high), min_agreement=0.95)
        if not len(hull.points):
            return None
        low, high = hull.extent()
        low, high = low - hull.voxel_size, high + hull.voxel_size
    return hull, used, inside
