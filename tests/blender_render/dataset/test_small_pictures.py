"""What pictures of few pixels can say of their poses, and what they cannot."""

import numpy as np
import pytest
from ball_scene import draw, ring_of_cameras

from blender_render.dataset.checks import MIN_OUTLINE, pose_problems
from blender_render.geometry.pose_checks import hull_agreement

BEADS = tuple(
    (tuple(centre), 0.07, (1.0, 0.0, 0.0))
    for centre in np.random.default_rng(0).uniform(-0.4, 0.4, (6, 3))
)


@pytest.mark.parametrize(("side", "decides"), [(16, False), (64, True)])
def test_outlines_of_few_pixels_accuse_nobody(side: int, decides: bool) -> None:
    cameras = ring_of_cameras(8, (side, side))
    masks = [draw(camera, BEADS)[0][..., 3] >= 128 for camera in cameras]
    pixels = np.median([mask.sum() for mask in masks])
    assert (pixels >= MIN_OUTLINE) == decides
    # True poses: so few pixels agree by no more than chance, and must not be held against them.
    assert (hull_agreement(cameras, masks) >= 0.5) == decides
    assert pose_problems(cameras, masks, "x") == []
    wrong = [*masks[3:], *masks[:3]]
    assert bool(pose_problems(cameras, wrong, "x")) == decides
