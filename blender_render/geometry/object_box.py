"""Where the object is, and how large: found from cameras and outlines, whatever the world's unit.

Nothing is assumed about the place of the origin or the length of a unit. The search starts with
what the cameras look at and narrows down, so a world in millimetres or one far from its origin
costs no precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from blender_render.geometry.cameras import Camera
from blender_render.geometry.pose_checks import MIN_CAMERAS, common_aim, stack_poses
from blender_render.geometry.visual_hull import Masks, carve

Box = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

RESOLUTION = 40
# As far as an object reaches that is cut by the border, in half widths of what a picture shows.
REACH = 1.5
ROUNDS = 5
# A round that takes less than this of the box's side away is the last.
SMALL_STEP = 0.9
# A picture whose outline is wrong must not empty the box.
MIN_AGREEMENT = 0.95
# More pictures cost time and take little away.
MAX_VIEWS = 48


def object_box(masks: Masks, cameras: Sequence[Camera]) -> Box | None:
    """Lower and upper corner [3] of the object in world units, float64, larger by up to a voxel.

    None where the cameras do not look at a common point from different sides, where no shape has
    such outlines, or where nothing but the object is in any picture.

    Args:
        masks: N of [H, W], alpha in [0, 1] (inside from 0.5) or bool.
        cameras: N cameras.
    """
    aim = common_aim(stack_poses(cameras))
    if len(cameras) < 2 or (len(cameras) >= MIN_CAMERAS and not aim.converges):
        return None
    if all(bool((mask if mask.dtype == torch.bool else mask >= 0.5).all()) for mask in masks):
        return None
    across = max(max(c.width / c.fl_x, c.height / c.fl_y) for c in cameras)
    reach = REACH * aim.distance * 0.5 * across
    if not (np.isfinite(reach) and reach > 0.0):
        return None
    # Around the origin and of size 1, because the carving works in float32.
    step = math.ceil(len(cameras) / MAX_VIEWS)
    masks, cameras = masks[::step], placed(cameras[::step], aim.point, 1.0 / reach)
    low, high = -np.ones(3), np.ones(3)
    for _ in range(ROUNDS):
        hull = carve(
            masks,
            cameras,
            RESOLUTION,
            (low, high),
            min_agreement=MIN_AGREEMENT,
            min_views=max(2, len(cameras) // 2),
        )
        if not len(hull.points):
            return None
        side = float((high - low).max())
        low, high = hull.extent()
        if float((high - low).max()) > SMALL_STEP * side:
            break
        low, high = low - hull.voxel_size, high + hull.voxel_size
    return aim.point + low * reach, aim.point + high * reach


def placed(cameras: Sequence[Camera], centre: npt.ArrayLike, scale: float) -> tuple[Camera, ...]:
    """The cameras of a world in which ``centre`` [3] is the origin and all is ``scale`` times as
    large: they see the same pictures.
    """
    moved = []
    for camera in cameras:
        pose = camera.cam_to_world.copy()
        pose[:3, 3] = (pose[:3, 3] - np.asarray(centre, dtype=np.float64)) * scale
        moved.append(replace(camera, cam_to_world=pose))
    return tuple(moved)
