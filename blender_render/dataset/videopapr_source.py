"""The reference project's published renders, read as they are; see ``convert_videopapr``."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import Tree
from blender_render.geometry.cameras import Camera
from blender_render.geometry.pose_checks import Aim, common_aim, looks_inverted, stack_poses
from blender_render.geometry.visual_hull import carve
from blender_render.imaging.images import decode_rgba
from training_core.config import InputError

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

EXTENT_PARALLAX_DEG = 25.0


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One published frame, in source units.

    Attributes:
        images: N paths below the source folder.
        cameras: N cameras, camera-to-world whatever the file held.
        masks: [N, H, W] bool.
        inverted: whether the file held world-to-camera.
        box: lower and upper corner [3] of the object.
    """

    name: str
    images: tuple[str, ...]
    cameras: tuple[Camera, ...]
    masks: Tensor
    inverted: bool
    box: tuple[Array, Array]


def json_name(name: str) -> str:
    return f"{name}/{name}.json"


def select_frames(tree: Tree, wanted: Sequence[int] | None) -> list[str]:
    found = {n: name for name in tree.list() if (n := fmt.frame_number(name)) is not None}
    if not found:
        raise InputError(f"{tree.label()}: holds no folders frame_NNN")
    missing = sorted(set(wanted or ()) - set(found))
    if missing:
        raise InputError(f"{tree.label()}: has no frame {missing[0]}")
    return [found[n] for n in sorted(found) if wanted is None or n in wanted]


def read_frame(tree: Tree, name: str) -> SourceFrame:
    where = tree.label(json_name(name))
    entries = tree.read_json(json_name(name)).get("camera_data")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where}: key 'camera_data' is missing or empty")
    images: list[str] = []
    cameras: list[Camera] = []
    masks: list[Tensor] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise InputError(f"{where}: camera {index}: key 'file_path' is missing")
        rel = f"{name}/{entry['file_path'].rpartition('/')[2]}"
        pixels = decode_rgba(tree.read_bytes(rel), tree.label(rel))
        height, width = pixels.shape[:2]
        if masks and masks[0].shape != (height, width):
            raise InputError(f"{tree.label(rel)}: wrong size {width}x{height}, unlike the others")
        images.append(rel)
        cameras.append(fmt.camera_from_dict(entry, (width, height), f"{where}: camera {index}"))
        masks.append(torch.from_numpy(pixels[..., 3] >= 128))
    inverted = looks_inverted(cameras, [mask.numpy() for mask in masks])
    if inverted:
        cameras = [replace(c, cam_to_world=np.linalg.inv(c.cam_to_world)) for c in cameras]
        logger.info("%s: the %d matrices are world-to-camera; inverted them.", name, len(cameras))
    aim = common_aim(stack_poses(cameras))
    if not aim.converges:
        raise InputError(f"{where}: the cameras look at no common point, inverted or not")
    for camera, rel in zip(cameras, images, strict=True):
        distance = float(np.linalg.norm(camera.position - aim.point))
        if abs(distance / aim.distance - 1.0) > 0.05:
            text = "%s: %s stands at distance %.2f, the others at %.2f; kept as it is."
            logger.info(text, name, rel.rpartition("/")[2], distance, aim.distance)
    stacked = torch.stack(masks)
    box = _extent(name, stacked, cameras, aim)
    return SourceFrame(name, tuple(images), tuple(cameras), stacked, inverted, box)


def normalisation(frames: Sequence[SourceFrame]) -> Array:
    """[4, 4] from source units to our world: the box over all frames gets size 1."""
    low, high = np.min([f.box[0] for f in frames], 0), np.max([f.box[1] for f in frames], 0)
    scale = 1.0 / float((high - low).max())
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = -scale * 0.5 * (low + high)
    logger.info(
        "The object's box over %d frames is %s to %s in source units (from the masks' visual "
        "hull); scaled by %.6f and centred at the origin.",
        len(frames),
        np.round(low, 2).tolist(),
        np.round(high, 2).tolist(),
        scale,
    )
    return matrix


def _extent(name: str, masks: Tensor, cameras: Sequence[Camera], aim: Aim) -> tuple[Array, Array]:
    # One and a half times what fits in an image: the object may be cut by the border.
    reach = 1.5 * aim.distance * math.tan(0.5 * cameras[0].camera_angle_x)
    low, high = aim.point - reach, aim.point + reach
    for resolution in (64, 96):
        hull = carve(masks, cameras, resolution, (low, high), min_parallax_deg=EXTENT_PARALLAX_DEG)
        if not len(hull.points):
            raise InputError(f"{name}: no point of space lies inside all masks")
        low, high = hull.extent()
        low, high = low - 2.0 * hull.voxel_size, high + 2.0 * hull.voxel_size
    return hull.extent()
