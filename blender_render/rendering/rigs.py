"""From a rig's config to named cameras, and the distance at which nothing is clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blender_render.dataset.checks import FILLS
from blender_render.dataset.format import INPUT_FOLDER, SPLITS, view_folder
from blender_render.geometry.cameras import (
    SIXVIEW_RIGS,
    Camera,
    fibonacci_sphere,
    look_at,
    multiview_cameras,
    sixview_cameras,
    spherical,
)
from blender_render.rendering.config import RenderConfig

Points = npt.NDArray[np.float64]
# How far train, val and test stand from one training camera of an orbit to the next.
_ORBIT_SHARES = (0.0, 1.0 / 3.0, 0.5)


@dataclass(frozen=True)
class RigCamera:
    """One camera of a rig: ``group`` is the folder of its images (train, input, view_0, …)."""

    group: str
    camera: Camera
    depth: bool


def rig_cameras(config: RenderConfig, distance: float) -> tuple[RigCamera, ...]:
    """All cameras of the rig at ``distance`` scene units from the origin, in writing order."""
    rig = config.rig
    if rig.kind == "sixview":
        model = replace(
            SIXVIEW_RIGS[rig.version], distance=distance, fov_deg=math.degrees(rig.fov_rad)
        )
        named = [(INPUT_FOLDER, model.camera(0.0, rig.input_elevation_deg, rig.resolution))]
        six = sixview_cameras(model, rig.resolution)
        named += [(view_folder(i), camera) for i, camera in enumerate(six)]
    else:
        named = []
        for offset, (split, count) in enumerate(
            zip(SPLITS, (rig.train, rig.val, rig.test), strict=True)
        ):
            size = (rig.resolution, rig.resolution)
            cameras: Sequence[Camera]
            if rig.layout == "orbit":
                turns = _orbit_azimuths_deg(count, rig.train, _ORBIT_SHARES[offset])
                eyes = [spherical(turn, rig.orbit_elevation_deg, distance) for turn in turns]
                cameras = [Camera.from_angle_x(look_at(eye), *size, rig.fov_rad) for eye in eyes]
            else:
                cameras = multiview_cameras(
                    count,
                    distance,
                    rig.fov_rad,
                    size,
                    rig.seed * len(SPLITS) + offset,
                    rig.layout,
                    band_deg=(rig.elevation_min_deg, rig.elevation_max_deg),
                )
            named += [(split, camera) for camera in cameras]
    deep = {"none": (), "test": ("test",), "all": None}[config.depth]
    return tuple(RigCamera(g, camera, deep is None or g in deep) for g, camera in named)


def _orbit_azimuths_deg(count: int, train: int, share: float) -> list[float]:
    """Azimuths spread evenly over a ring, each ``share`` of the way from one of ``train`` evenly
    spaced cameras to the next; of a finer ring where there are more.
    """
    ring = train * math.ceil(count / train)
    return [360.0 / ring * (number * ring // count + share) for number in range(count)]


def fitting_distance(views: tuple[RigCamera, ...], points: Points, margin: float) -> float:
    """Least distance from the origin at which every view shows every point unclipped.

    A camera in direction d sees p at depth D − p·d, so |x| ≤ tan(fov / 2) (D − p·d) bounds D from
    below; with the margin, the object spans at most 1 / margin of the image.

    Args:
        views: cameras at any distance; all look at the origin through square images.
        points: [N, 3] scene units.
        margin: ≥ 1.
    """
    slope = math.tan(0.5 * views[0].camera.camera_angle_x) / margin
    needed = 0.0
    for view in views:
        local = points @ view.camera.cam_to_world[:3, :3]
        reach = np.abs(local[:, :2]).max(axis=1)
        needed = max(needed, float((local[:, 2] + reach / slope).max()))
    return needed


def outermost(points: Points, directions: int = 256) -> Points:
    """The points [M, 3] of [N, 3] that lie farthest out in any of evenly spread directions.

    Enough to fit a camera by: what is left out lies within 1 % of the hull of what is kept.
    """
    if len(points) <= directions:
        return points
    winners = np.argmax(points @ fibonacci_sphere(directions).T, axis=0)
    return points[np.unique(winners)]


def filled_share(views: tuple[RigCamera, ...], points: Points) -> float:
    """The longer side of the box around the images of points [N, 3], as a share of the image's
    side, in the view where it is largest.
    """
    shares = []
    for view in views:
        pixels, _ = view.camera.project(points)
        size = np.array([view.camera.width, view.camera.height])
        shares.append(float(((pixels.max(axis=0) - pixels.min(axis=0)) / size).max()))
    return max(shares)


def why_small(views: tuple[RigCamera, ...], points: Points, boxes: Points) -> str:
    """One line where the object fills little of every picture, and why; else empty.

    Args:
        points: [N, 3] of all moments. boxes: [T, 2, 3], corners of the object's box at each moment,
            in any units.
    """
    whole = filled_share(views, points)
    longest = float((boxes[:, 1] - boxes[:, 0]).max())
    alone = longest / float((boxes[:, 1].max(axis=0) - boxes[:, 0].min(axis=0)).max())
    if whole * alone >= FILLS:
        return ""
    why = "the camera is far away: rig.distance=0 fits it to the object"
    if alone < FILLS:
        why = (
            f"it travels: at one moment it is {alone:.0%} as long as its way and itself together; "
            "normalise.follow=root goes along with it"
        )
    return f"the object fills at most {whole * alone:.0%} of a picture's side ({why})"


def clipped_views(views: tuple[RigCamera, ...], points: Points) -> list[str]:
    """Names of the groups in which a point [N, 3] falls outside an image or behind a camera."""
    found: dict[str, Any] = {}
    for view in views:
        pixels, depth = view.camera.project(points)
        size = (view.camera.width, view.camera.height)
        if (depth <= 0).any() or (pixels < 0).any() or (pixels > size).any():
            found[view.group] = True
    return list(found)
