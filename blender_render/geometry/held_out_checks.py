"""Do held-out images show the shape that the training images show, from where they say?

The visual hull of the training images holds the object, so every other outline of the object must
lie on it. That holds however few training images there are; how closely the hull fits the outlines
does not, so cameras that are too near or lenses that are too long, which only make outlines small
within the hull's, are found by what it would take to make them fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from blender_render.geometry.cameras import Camera
from blender_render.geometry.pose_checks import (
    OPENCV_AXES,
    ORDER_VIEWS,
    agreed_hull,
    common_aim,
    stack_poses,
)
from blender_render.geometry.visual_hull import Hull, coverage, reprojection_iou

Mask = npt.NDArray[np.bool_]

# So many images are enough to tell; more cost time.
TRAINING_VIEWS, HELD_OUT_VIEWS = 24, 6
# Outlines of fewer pixels decide nothing.
MIN_OUTLINE = 64
# True poses reach 1.00 on Lego, from 6 training images on, and on balls of 80 pixels; poses in
# another order 0.7 to 0.8, the world turned to another upright axis 0.75 to 0.88.
MIN_COVERAGE = 0.85
# Where the border cuts the object off in more training images than that, held-out ones may show
# parts that no training image has: then only outlines that lie elsewhere altogether are faults.
MOST_CUT_OFF, MIN_COVERAGE_CUT_OFF = 0.2, 0.5
# IoU that outlines reach at another focal length, and by which it must beat the given one. On Lego
# 1.4 times the true length gives 0.45 and the true one 0.82; true ones gain 0.11 at most.
FITTING_IOU, CLEARLY_BETTER = 0.65, 0.2
# By what lenses are shortened and cameras moved away to make them fit: down to a twelfth.
FACTORS = tuple(0.8**k for k in range(1, 12))
TOO_SMALL = (
    "they show the object smaller than lens and poses say (is the lens too long, or are the "
    "cameras too near?)"
)


@dataclass(frozen=True, eq=False)
class TrainingShape:
    """What the training images say of the shape.

    Attributes:
        hull: holds the object, as far as the images show it.
        least: share of other outlines that must lie on it.
        tight: so many images carved it that it is hardly larger than the object.
    """

    hull: Hull
    least: float
    tight: bool


def training_shape(cameras: Sequence[Camera], masks: Sequence[Mask]) -> TrainingShape | None:
    """The shape of training images with masks [H, W]; None where they do not say it: cameras that
    do not look at one place, outlines of few pixels, no outlines at all."""
    whole = [mask for mask in masks if mask.any() and not mask.all()]
    if not whole or np.median([mask.sum() for mask in whole]) < MIN_OUTLINE:
        return None
    if not common_aim(stack_poses(cameras)).converges:
        return None
    carved = agreed_hull(cameras, masks, TRAINING_VIEWS)
    if carved is None:
        return None
    is_cut_off = float(np.mean([_touches_border(mask) for mask in whole])) > MOST_CUT_OFF
    least = MIN_COVERAGE_CUT_OFF if is_cut_off else MIN_COVERAGE
    return TrainingShape(carved[0], least, not is_cut_off and len(whole) >= ORDER_VIEWS)


def why_apart(shape: TrainingShape, cameras: Sequence[Camera], masks: Sequence[Mask]) -> str:
    """What is wrong with held-out images of masks [H, W], in one phrase; else empty."""
    usable = [i for i, mask in enumerate(masks) if mask.sum() >= MIN_OUTLINE and not mask.all()]
    if not usable:
        return ""
    spread = np.linspace(0, len(usable) - 1, min(len(usable), HELD_OUT_VIEWS)).astype(int)
    seen = [torch.from_numpy(masks[usable[i]]) for i in spread]
    rig = [cameras[usable[i]] for i in spread]
    covered = float(coverage(shape.hull, seen, rig).median())
    if covered >= shape.least:
        return TOO_SMALL if _are_too_small(shape, seen, rig) else ""
    for reading, words in (
        (np.linalg.inv, "the poses are inverted (world-to-camera where camera-to-world belongs)"),
        (lambda pose: pose @ OPENCV_AXES, "the poses have OpenCV axes (+Z forward, +Y down)"),
    ):
        other = [replace(c, cam_to_world=reading(c.cam_to_world)) for c in rig]
        covers = float(coverage(shape.hull, seen, other).median()) >= MIN_COVERAGE
        if covers and (not shape.tight or _iou(shape.hull, seen, other) >= FITTING_IOU):
            return words
    return (
        f"only {covered:.0%} of their outlines lies where their poses and lens place the object "
        "that the training pictures show"
    )


def _are_too_small(
    shape: TrainingShape, masks: Sequence[torch.Tensor], cameras: Sequence[Camera]
) -> bool:
    """Whether outlines that lie on the shape are too small for it, and would fit it with a shorter
    lens or from farther away."""
    agreement = _iou(shape.hull, masks, cameras)
    if not shape.tight or agreement + CLEARLY_BETTER > FITTING_IOU:
        return False
    enough = max(FITTING_IOU, agreement + CLEARLY_BETTER)
    return any(
        _iou(shape.hull, masks, [change(camera, factor) for camera in cameras]) >= enough
        for factor in FACTORS
        for change in (_shorter, _farther)
    )


def _shorter(camera: Camera, factor: float) -> Camera:
    return replace(camera, fl_x=camera.fl_x * factor, fl_y=camera.fl_y * factor)


def _farther(camera: Camera, factor: float) -> Camera:
    """From ``1 / factor`` times as far from the origin, as poses of another unit would be."""
    pose = camera.cam_to_world.copy()
    pose[:3, 3] /= factor
    return replace(camera, cam_to_world=pose)


def _touches_border(mask: Mask) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _iou(hull: Hull, masks: Sequence[torch.Tensor], cameras: Sequence[Camera]) -> float:
    """Median IoU of masks and hull."""
    return float(reprojection_iou(hull, masks, cameras).median())
