"""Camera paths: every camera sees the origin in the middle, and each kind moves as it says."""

import dataclasses

import numpy as np
import pytest

from animate_papr.camera_paths import PATHS, PathConfig, path_cameras
from blender_render.geometry.cameras import Camera
from training_core.config import ConfigError, load_config

SET = PathConfig(radius=2.0, fov_deg=40.0, width=64, height=48)


def cameras(count: int, **changes: object) -> list[Camera]:
    return path_cameras(dataclasses.replace(SET, **changes), count)  # type: ignore[arg-type]


def angles(camera: Camera) -> tuple[float, float]:
    x, y, z = camera.cam_to_world[:3, 3]
    return np.degrees(np.arctan2(x, -y)), np.degrees(np.arcsin(z / np.linalg.norm([x, y, z])))


@pytest.mark.parametrize("kind", PATHS)
def test_every_camera_looks_at_the_origin_from_the_radius(kind: str) -> None:
    for camera in cameras(7, kind=kind):
        pixel, depth = camera.project(np.zeros((1, 3)))
        np.testing.assert_allclose(pixel[0], (32, 24), atol=1e-6)
        np.testing.assert_allclose(depth, 2.0, atol=1e-9)
        assert (camera.width, camera.height) == (64, 48)
        assert np.degrees(camera.camera_angle_x) == pytest.approx(40.0)


@pytest.mark.parametrize("kind", ["orbit", "spiral", "figure_eight"])
def test_a_path_closes_without_repeating_its_first_picture(kind: str) -> None:
    centres = np.array([c.cam_to_world[:3, 3] for c in cameras(12, kind=kind)])
    steps = np.linalg.norm(np.roll(centres, -1, axis=0) - centres, axis=1)
    assert steps.min() > 0.01
    assert steps[-1] <= steps.max()  # from the last image back to the first is a step like others


def test_orbit_goes_counter_clockwise_in_even_steps_at_one_elevation() -> None:
    seen = np.array([angles(c) for c in cameras(8, elevation_deg=20.0)])
    np.testing.assert_allclose(np.diff(np.unwrap(seen[:, 0], period=360)), 45.0, atol=1e-6)
    np.testing.assert_allclose(seen[:, 1], 20.0, atol=1e-6)


def test_negative_turns_go_the_other_way() -> None:
    seen = np.unwrap([angles(c)[0] for c in cameras(8, turns=-1.0)], period=360)
    np.testing.assert_allclose(np.diff(seen), -45.0, atol=1e-6)


def test_fixed_stays() -> None:
    first, *others = cameras(3, kind="fixed", azimuth_deg=70.0)
    assert angles(first)[0] == pytest.approx(70.0)
    assert all(np.array_equal(first.cam_to_world, other.cam_to_world) for other in others)


def test_spiral_and_figure_eight_swing_as_far_as_asked() -> None:
    spiral = np.array([angles(c) for c in cameras(16, kind="spiral", swing_deg=25.0)])
    np.testing.assert_allclose((spiral[:, 1].min(), spiral[:, 1].max()), (-10, 40), atol=1e-6)
    eight = np.array([angles(c) for c in cameras(16, kind="figure_eight", swing_deg=24.0)])
    np.testing.assert_allclose((eight[:, 0].min(), eight[:, 0].max()), (-24, 24), atol=1e-6)
    np.testing.assert_allclose((eight[:, 1].min(), eight[:, 1].max()), (3, 27), atol=1e-6)


def test_a_spiral_never_flips_over_the_pole() -> None:
    for camera in cameras(32, kind="spiral", elevation_deg=60.0, swing_deg=80.0):
        assert abs(angles(camera)[1]) <= 89.0 + 1e-6


@pytest.mark.parametrize(
    "wrong", ["kind=zigzag", "views=-1", "fov_deg=180", "elevation_deg=90", "radius=-1"]
)
def test_senseless_paths_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong.split("=")[0]):
        load_config(PathConfig, None, [wrong])


def test_a_path_needs_its_sizes_and_at_least_one_picture() -> None:
    with pytest.raises(ValueError, match="radius"):
        cameras(3, radius=0.0)
    with pytest.raises(ValueError, match="at least one"):
        cameras(0)
