"""Inverted poses are told from true ones, wherever the object and the cameras stand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ball_scene import BALLS, draw, inverted, moved, ring_of_cameras, shifted

from blender_render.dataset.readers import read_views
from blender_render.geometry.cameras import Camera, look_at, multiview_cameras, spherical
from blender_render.geometry.pose_checks import (
    common_aim,
    fits_its_poses,
    hull_agreement,
    looks_inverted,
    stack_poses,
)

RIGS: dict[str, Callable[[], tuple[Camera, ...]]] = {
    "sphere": lambda: multiview_cameras(20, 2.0, 0.9, (32, 32)),
    "upper half": lambda: multiview_cameras(20, 4.0, 0.5, (32, 32), layout="hemisphere"),
    "level ring": lambda: multiview_cameras(12, 2.0, 0.9, (32, 32), layout="orbit"),
    "high ring": lambda: multiview_cameras(
        12, 2.0, 0.9, (32, 32), layout="orbit", elevation_deg=40
    ),
    "two distances": lambda: (
        *multiview_cameras(10, 2.0, 0.9, (32, 32)),
        *multiview_cameras(3, 3.1, 0.9, (32, 32), seed=2),
    ),
}
OFFSETS = {
    "origin": (0, 0, 0),
    "aside": (4, 2, 0),
    "above": (0, 0, 3),
    "below": (0, 0, -1.2),
    "far below": (0.1, 0, -6),
    "tiny": (0.01, 0.02, -0.03),
}


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
@pytest.mark.parametrize("rig", RIGS.values(), ids=RIGS)
def test_true_poses_pass_and_inverted_ones_do_not(
    rig: Callable[[], tuple[Camera, ...]], offset: tuple[float, float, float]
) -> None:
    cameras = shifted(rig(), offset)
    masks = [draw(c, moved(offset))[0][..., 3] > 0 for c in cameras]
    assert common_aim(stack_poses(cameras)).converges
    np.testing.assert_allclose(common_aim(stack_poses(cameras)).point, offset, atol=1e-6)
    assert not looks_inverted(cameras, masks)
    assert looks_inverted([inverted(c) for c in cameras], masks)


def test_cameras_that_look_away_have_no_common_aim() -> None:
    outward = [
        Camera.from_angle_x(look_at(spherical(a, 0), spherical(a, 0, 2.0)), 8, 8, 0.8)
        for a in range(0, 360, 30)
    ]
    aim = common_aim(stack_poses(outward))
    assert aim.aim_deg == pytest.approx(180.0)
    assert not aim.converges
    assert not looks_inverted(outward, [np.ones((8, 8), bool)] * 12)


def test_forward_facing_cameras_are_not_called_inverted() -> None:
    row = [
        Camera.from_angle_x(look_at((x, -3, 0), (x, 0, 0)), 8, 8, 0.8)
        for x in np.linspace(-0.2, 0.2, 8)
    ]
    assert not common_aim(stack_poses(row)).converges
    assert not looks_inverted(row, [np.ones((8, 8), bool)] * 8)


def test_agreement_needs_pictures_and_poses_that_belong_together() -> None:
    cameras = ring_of_cameras()
    masks = [draw(c, BALLS)[0][..., 3] > 0 for c in cameras]
    assert hull_agreement(cameras, masks) > 0.65
    assert hull_agreement(cameras, masks[2:] + masks[:2]) < 0.5
    assert hull_agreement(cameras, [np.ones((48, 64), bool)] * 16) == 0.0


def test_a_compact_shape_with_the_poses_of_other_pictures() -> None:
    """Its outlines overlap by half in any order, so order must matter."""
    bar = tuple(((x, 0.0, 0.0), 0.3, (1.0, 1.0, 1.0)) for x in (-0.35, 0.0, 0.35))
    cameras = ring_of_cameras(24)
    masks = [draw(c, bar)[0][..., 3] > 0 for c in cameras]
    assert fits_its_poses(cameras, masks) > 0.8
    for shift in (5, 12):
        wrong = masks[shift:] + masks[:shift]
        assert hull_agreement(cameras, wrong) > 0.5, "the hull alone may fit"
        assert fits_its_poses(cameras, wrong) == 0.0


def test_few_or_tiny_pictures_get_the_benefit_of_the_doubt() -> None:
    """Pixels a tenth of the object wide, or eight views, say too little about the order."""
    bar = tuple(((x, 0.0, 0.0), 0.3, (1.0, 1.0, 1.0)) for x in (-0.35, 0.0, 0.35))
    for count, size in ((8, (64, 48)), (24, (20, 15))):
        cameras = ring_of_cameras(count, size)
        masks = [draw(c, bar)[0][..., 3] > 0 for c in cameras]
        wrong = masks[count // 2 :] + masks[: count // 2]
        assert fits_its_poses(cameras, wrong) == hull_agreement(cameras, wrong) > 0.0


@pytest.mark.parametrize("height", [0.0, 0.1])
def test_a_ball_fits_in_any_order(height: float) -> None:
    """Nothing tells its pictures apart, and nothing is lost by mixing them up."""
    cameras = ring_of_cameras(16)
    masks = [draw(c, (((0.0, 0.0, height), 0.4, (1, 1, 1)),))[0][..., 3] > 0 for c in cameras]
    assert fits_its_poses(cameras, masks) > 0.5


def test_lego_in_another_order(shared_data: Path) -> None:
    views = read_views(shared_data / "data/nerf_synthetic_lego_200", "train", resolution=(50, 50))
    masks = list((views.images[..., 3] >= 0.5).numpy())
    assert fits_its_poses(views.cameras, masks) > 0.7
    assert hull_agreement(views.cameras, masks[1:] + masks[:1]) > 0.45, "the hull alone may fit"
    assert fits_its_poses(views.cameras, masks[1:] + masks[:1]) == 0.0
