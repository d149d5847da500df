"""What can be wrong with images, poses and depth of a dataset; used by ``validate``.

Each check adds one line per problem to a list and goes on, so that one run names them all; a JSON
schema would not look into the images, and its messages do not name the fault in one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import Tree
from blender_render.geometry.cameras import Camera
from blender_render.geometry.held_out_checks import training_shape, why_apart
from blender_render.geometry.pose_checks import (
    MIN_CAMERAS,
    OPENCV_AXES,
    OutlineProblem,
    common_aim,
    fits_its_poses,
    looks_inverted,
    lost_digits,
    stack_poses,
)
from blender_render.imaging.depth import decode_depth
from blender_render.imaging.images import decode_rgba
from training_core.config import InputError

MAX_MOTION_VIEWS = 8
MIN_HULL_IOU = 0.5  # see hull_agreement
# Outlines of fewer pixels decide nothing: of an animal in 16x16 pixels (18 to 41) true poses
# reach 0.50 to 0.56 and wrong ones 0.43 to 0.49. In 32x32 true ones reach 0.64.
MIN_OUTLINE = 64
# Where an object covers this share of the border, and by so much less of the whole picture, object
# and background have changed places: one seen from close up covers less of the border.
ALL_AROUND, LEAST_HOLE = 0.75, 0.02
# Mean difference in 8-bit counts under which two images count as the same.
SAME_IMAGE = 0.02
# An object should be this long in some image, as a share of the image's side.
FILLS = 0.6
MIN_DEPTH_AGREEMENT = 0.95


@dataclass
class FrameObservations:
    """What the checks of one animation frame have gathered; ``split``: of what is added next."""

    cameras: list[Camera] = field(default_factory=list)
    images: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    split: str = "train"

    def add(self, camera: Camera, image: npt.NDArray[np.uint8], name: str) -> None:
        """Remember a sound image [H, W, 4] with its camera."""
        self.cameras.append(camera)
        self.images.append(image)
        self.names.append(name)
        self.splits.append(self.split)

    def of(self, split: str = "") -> tuple[list[Camera], list[npt.NDArray[np.bool_]]]:
        """Cameras and masks [H, W] of a split, or of all."""
        chosen = [i for i, own in enumerate(self.splits) if split in ("", own)]
        masks = [self.images[i][..., 3] >= 128 for i in chosen]
        return [self.cameras[i] for i in chosen], masks


class FilledShare:
    """How large the object is in the images of a dataset, over all its frames."""

    def __init__(self) -> None:
        self._boxes: dict[str, list[npt.NDArray[np.float64]]] = {}

    def add(self, names: Sequence[str], images: Sequence[npt.NDArray[np.uint8]]) -> None:
        """Images [H, W, 4] of a moment; ``names`` are those of their views."""
        for name, image in zip(names, images, strict=True):
            solid = image[..., 3] >= 128
            if not solid.any():
                continue
            spans = [np.flatnonzero(solid.any(axis)) for axis in (0, 1)]
            ends = np.array([[span[0], span[-1] + 1] for span in spans], dtype=np.float64)
            box = ends / np.array([[solid.shape[1]], [solid.shape[0]]])
            self._boxes.setdefault(name, []).append(box)

    def why_small(self, fitted: bool) -> str:
        """One line where the object is short in every image, and why; else empty.

        Args:
            fitted: the renderer chose the distance of its cameras.
        """
        if not self._boxes:
            return ""
        longest = max(float((b[:, 1] - b[:, 0]).max()) for own in self._boxes.values() for b in own)
        if longest >= FILLS:
            return ""
        ways = [np.stack(own) for own in self._boxes.values()]
        way = max(float((b[:, :, 1].max(0) - b[:, :, 0].min(0)).max()) for b in ways)
        if way >= FILLS:
            why = (
                f"it travels, over {way:.0%} in all; normalise.follow=root of the renderer follows"
            )
        elif fitted:
            why = "it reaches farthest from the middle of its box where no camera looks across"
        else:
            why = "the cameras are far away; rig.distance=0 of the renderer fits them to the object"
        return f"the object fills at most {longest:.0%} of a picture's side ({why})"


def check_image(tree: Tree, rel: str, problems: list[str]) -> npt.NDArray[np.uint8] | None:
    """Decode an image and look at its alpha; None (and a problem) when it cannot be read."""
    try:
        image = decode_rgba(tree.read_bytes(rel), tree.label(rel))
    except InputError as error:
        problems.append(str(error))
        return None
    alpha = image[..., 3]
    if not alpha.any():
        problems.append(f"{tree.label(rel)}: nothing in the picture, alpha is 0 everywhere")
    elif alpha.min() == 255:
        problems.append(f"{tree.label(rel)}: no background, alpha is opaque everywhere")
    return image


def check_camera(
    entry: dict[str, Any], size: tuple[int, int], where: str, problems: list[str]
) -> Camera | None:
    """The camera of an image of ``size`` (width, height); None (and a problem) when unusable."""
    try:
        camera = fmt.camera_from_dict(entry, None, where)
    except InputError as error:
        problems.append(str(error))
        return None
    if (camera.width, camera.height) != size:
        problems.append(
            f"{where}: wrong size {size[0]}x{size[1]}, but the JSON file says "
            f"{camera.width}x{camera.height}"
        )
        return None
    return camera


def check_depth(
    tree: Tree,
    entry: dict[str, Any],
    image: npt.NDArray[np.uint8],
    problems: list[str],
) -> None:
    """Depth must be readable, of the image's size, and present just where alpha is."""
    rel, scale = entry["depth_path"], entry.get("depth_scale")
    if not isinstance(rel, str):
        problems.append(f"{tree.label()}: 'depth_path' must be the path of a picture, is {rel!r}")
        return
    if not isinstance(scale, int | float) or not scale > 0:
        problems.append(f"{tree.label(rel)}: 'depth_scale' must be positive, is {scale!r}")
        return
    try:
        depth = decode_depth(tree.read_bytes(rel), scale, tree.label(rel))
    except InputError as error:
        problems.append(str(error))
        return
    if depth.shape != image.shape[:2]:
        problems.append(f"{tree.label(rel)}: its size differs from the picture's")
        return
    alpha = image[..., 3]
    # Half-covered pixels at the outline may or may not have a depth.
    for where, wrong, text in (
        (alpha == 255, depth == 0, "of the opaque pixels have no depth"),
        (alpha == 0, depth > 0, "of the empty pixels have a depth"),
    ):
        share = float(wrong[where].mean()) if where.any() else 0.0
        if share > 1.0 - MIN_DEPTH_AGREEMENT:
            problems.append(f"{tree.label(rel)}: {share:.0%} {text}")


def check_poses(
    seen: FrameObservations,
    where: str,
    centred: bool,
    problems: list[str],
    held_out: Mapping[str, str] | None = None,
) -> None:
    """Poses of one frame: those of the training images first, then the others by the shape that
    these show, then all as a set; see ``pose_problems`` and ``held_out_problems``.

    Args:
        centred: the object is meant to lie at the origin (datasets of ours).
        held_out: the other splits, with the file of each, for messages.
    """
    train, held_out = seen.of("train"), held_out or {}
    found = pose_problems(*train, where)
    if not found:
        others = {file: seen.of(split) for split, file in held_out.items()}
        found = held_out_problems(train, others) or pose_problems(*seen.of(), where)
    problems += found
    aim = common_aim(stack_poses(seen.cameras)) if seen.cameras else None
    if centred and aim and aim.converges and float(np.linalg.norm(aim.point)) > 0.5:
        point = np.round(aim.point, 3).tolist()
        problems.append(f"{where}: the cameras look at {point} instead of the origin")


def pose_problems(
    cameras: Sequence[Camera], masks: Sequence[npt.NDArray[np.bool_]], where: str
) -> list[str]:
    """Are masks inverted, or poses? Are these around the object? In agreement with the outlines?
    One line a problem.

    Args:
        masks: [H, W] of each camera's image, true inside the object.
        where: what to name in the lines.
    """
    if inverted := _why_inverted(masks):
        return [f"{where}: {inverted}"]
    if len(cameras) < MIN_CAMERAS:
        return []
    if too_far := lost_digits(cameras):
        return [f"{where}: {too_far}"]
    if looks_inverted(cameras, masks):
        return [f"{where}: the poses are inverted (world-to-camera where camera-to-world belongs)"]
    if not common_aim(stack_poses(cameras)).converges:
        flipped = [replace(c, cam_to_world=c.cam_to_world @ OPENCV_AXES) for c in cameras]
        if common_aim(stack_poses(flipped)).converges:
            return [
                f"{where}: the cameras do not look at a common point in front of them but behind "
                "them; if the poses have OpenCV axes (+Z forward, +Y down), change the signs of "
                "their second and third column to OpenGL's"
            ]
        return [
            f"{where}: the cameras do not look at a common point in front of them from different "
            "sides"
        ]
    usable = [int(mask.sum()) for mask in masks if mask.any() and not mask.all()]
    if len(usable) < MIN_CAMERAS or np.median(usable) < MIN_OUTLINE:
        return []
    if (iou := fits_its_poses(cameras, masks)) < MIN_HULL_IOU:
        found = f"IoU {iou:.2f}" if iou else "poses in another order fit as well"
        return [
            OutlineProblem(
                f"{where}: the pictures do not belong to these poses: no shape has such outlines "
                f"({found})"
            )
        ]
    return []


def _why_inverted(masks: Sequence[npt.NDArray[np.bool_]]) -> str:
    """One phrase where most masks [H, W] have the object along the border only; else empty."""
    holed = 0
    for mask in masks:
        rim = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
        holed += bool(rim.mean() > max(ALL_AROUND, mask.mean() + LEAST_HOLE))
    if 2 * holed <= len(masks):
        return ""
    return (
        f"the masks look inverted: in {holed} of {len(masks)} pictures the object lies along "
        "the border and the background in the middle; what is opaque, or white in a mask, "
        "must be the object"
    )


def held_out_problems(
    train: tuple[Sequence[Camera], Sequence[npt.NDArray[np.bool_]]],
    held_out: Mapping[str, tuple[Sequence[Camera], Sequence[npt.NDArray[np.bool_]]]],
) -> list[str]:
    """Do held-out images show the object of the training images from where they say? One line a
    problem; none where the training images do not say what the object's shape is.

    Args:
        train, held_out: cameras and masks [H, W], true inside the object; the held-out ones under
            what to name in the lines.
    """
    shape = training_shape(*train) if held_out and len(train[0]) >= MIN_CAMERAS else None
    problems: list[str] = []
    for where, (cameras, masks) in held_out.items():
        if inverted := _why_inverted(masks):
            problems.append(f"{where}: {inverted}")
        elif shape and (why := why_apart(shape, cameras, masks)):
            text = f"{where}: held-out pictures do not fit the training pictures: {why}"
            problems.append(OutlineProblem(text))
    return problems


def same_images(
    first: Sequence[npt.NDArray[np.uint8]], second: Sequence[npt.NDArray[np.uint8]]
) -> bool:
    """Whether two frames show the same in every one of their (first few) images."""
    pairs = list(zip(first, second, strict=False))[:MAX_MOTION_VIEWS]
    return bool(pairs) and all(
        a.shape == b.shape and np.abs(a.astype(np.int16) - b).mean() < SAME_IMAGE for a, b in pairs
    )
