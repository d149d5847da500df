"""Cameras: projection, poses, camera sets and rigs, as properties."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from ball_scene import unproject

from blender_render.geometry.cameras import (
    LAYOUTS,
    SIXVIEW_RIGS,
    Camera,
    fibonacci_sphere,
    look_at,
    multiview_cameras,
    orbit,
    sixview_cameras,
    spherical,
    uniform_sphere,
)

RNG = np.random.default_rng(0)


def random_camera() -> Camera:
    pose = look_at(RNG.normal(size=3) * 3.0, RNG.normal(size=3) * 0.3)
    return Camera(pose, 64, 40, 70.0, 55.0, 30.5, 21.0)


def is_rigid(matrix: np.ndarray) -> bool:
    rotation = matrix[:3, :3]
    return bool(
        np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        and np.isclose(np.linalg.det(rotation), 1.0)
        and np.array_equal(matrix[3], [0, 0, 0, 1])
    )


def test_project_undoes_unproject() -> None:
    for _ in range(20):
        camera = random_camera()
        pixels, depth = RNG.uniform(0, 64, (50, 2)), RNG.uniform(0.1, 9.0, 50)
        found, found_depth = camera.project(unproject(camera, pixels, depth))
        np.testing.assert_allclose(found, pixels, atol=1e-9)
        np.testing.assert_allclose(found_depth, depth, atol=1e-9)


def test_pixels_grow_right_and_down_from_the_top_left_corner() -> None:
    # At the origin, looking along +Y, with +Z up in the picture and +X to the right.
    camera = Camera.from_angle_x(look_at((0, 0, 0), (0, 1, 0)), 200, 100, math.pi / 2)
    points = [(0, 2, 0), (1, 2, 0), (0, 2, 1), (-2, 2, 1)]
    pixels, depth = camera.project(points)
    np.testing.assert_allclose(pixels, [(100, 50), (150, 50), (100, 0), (0, 0)], atol=1e-9)
    np.testing.assert_allclose(depth, 2.0)


def test_depth_is_planar_and_negative_behind_the_camera() -> None:
    camera = Camera.from_angle_x(look_at((0, -3, 0)), 10, 10, 1.0)
    depth = camera.project([(0, 0, 0), (2, 0, 1), (0, -5, 0)])[1]
    np.testing.assert_allclose(depth, [3.0, 3.0, -2.0])


def test_projection_is_what_project_does() -> None:
    camera, points = random_camera(), RNG.normal(size=(30, 3))
    pixels, depth = camera.project(points)
    found = np.c_[points, np.ones(30)] @ camera.projection.T
    np.testing.assert_allclose(found[:, 2], depth, atol=1e-9)
    np.testing.assert_allclose(found[:, :2], pixels * depth[:, None], atol=1e-6)
    axes = np.linalg.inv(camera.axes_to_pixels) @ found.T
    np.testing.assert_allclose(
        axes.T, points @ camera.world_to_cam[:3, :3].T + camera.world_to_cam[:3, 3]
    )


def test_angle_and_resizing_agree() -> None:
    camera = Camera.from_angle_x(look_at((1, 2, 3)), 400, 300, 0.7)
    assert camera.camera_angle_x == pytest.approx(0.7)
    small = camera.resized(100, 60)
    assert small.camera_angle_x == pytest.approx(0.7)
    points = RNG.normal(size=(20, 3)) * 0.3
    np.testing.assert_allclose(
        small.project(points)[0], camera.project(points)[0] * (0.25, 0.2), atol=1e-9
    )


@pytest.mark.parametrize(
    ("matrix", "width", "focal"),
    [(np.eye(3), 10, 5.0), (np.eye(4), 0, 5.0), (np.eye(4), 10, 0.0), (np.eye(4), 10, math.nan)],
)
def test_impossible_cameras_are_refused(matrix: np.ndarray, width: int, focal: float) -> None:
    with pytest.raises(ValueError, match=r"4x4|positive"):
        Camera(matrix, width, 10, focal, 5.0, 5.0, 5.0)


def test_look_at_points_at_the_target_with_z_up() -> None:
    for _ in range(50):
        eye, target = RNG.normal(size=3) * 4, RNG.normal(size=3)
        pose = look_at(eye, target)
        assert is_rigid(pose)
        wanted = (target - eye) / np.linalg.norm(target - eye)
        np.testing.assert_allclose(-pose[:3, 2], wanted, atol=1e-12)
        assert pose[2, 0] == pytest.approx(0.0, abs=1e-12), "the horizon is level"
        assert pose[2, 1] >= 0.0, "the picture's up is not below the horizon"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_look_at_straight_up_and_down_continues_azimuth_zero(sign: float) -> None:
    pole = look_at((0.0, 0.0, 2.0 * sign))
    near = look_at(spherical(0.0, sign * 89.9999, 2.0))
    assert is_rigid(pole)
    np.testing.assert_allclose(pole, near, atol=1e-5)


def test_look_at_survives_any_up_along_the_view() -> None:
    for up in itertools.product((-1.0, 0.0, 1.0), repeat=3):
        if any(up):
            assert is_rigid(look_at(np.array(up) * 3.0, up=up))


def test_look_at_needs_two_places() -> None:
    with pytest.raises(ValueError, match="coincide"):
        look_at((1, 1, 1), (1, 1, 1))


def test_azimuth_grows_counter_clockwise_seen_from_above() -> None:
    np.testing.assert_allclose(spherical(0, 0, 2.0), (0, -2, 0), atol=1e-12)
    np.testing.assert_allclose(spherical(90, 0, 2.0), (2, 0, 0), atol=1e-12)
    np.testing.assert_allclose(spherical(0, 90, 2.0), (0, 0, 2), atol=1e-12)
    for azimuth in range(0, 360, 15):
        here, next_ = spherical(azimuth, 10), spherical(azimuth + 5, 10)
        assert np.cross(here, next_)[2] > 0, "a right-handed turn about +Z"
        assert here[2] > 0, "positive elevation is above"


def test_fibonacci_is_even() -> None:
    points = fibonacci_sphere(300)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0)
    np.testing.assert_allclose(points.mean(0), 0.0, atol=0.01)
    cosine = points @ points.T - 2 * np.eye(300)
    nearest = np.arccos(cosine.max(1))
    # A perfect hexagonal packing of 300 points would have 0.220 rad between neighbours.
    assert nearest.min() > 0.7 * 0.220


def test_uniform_sets_are_uniform_by_area() -> None:
    rng = np.random.default_rng(1)
    everywhere, upper = uniform_sphere(20_000, rng), uniform_sphere(20_000, rng, lowest_z=0.0)
    for points in (everywhere, upper):
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0)
    # By Archimedes z is uniform; a set crowded at the poles has a larger second moment.
    assert np.mean(everywhere[:, 2]) == pytest.approx(0.0, abs=0.02)
    np.testing.assert_allclose((everywhere**2).mean(0), 1 / 3, atol=0.01)
    assert upper[:, 2].min() >= 0.0
    assert np.mean(upper[:, 2]) == pytest.approx(0.5, abs=0.01)


def test_orbit_goes_round_once() -> None:
    points = orbit(8, 20.0)
    np.testing.assert_allclose(points[0], spherical(0, 20))
    np.testing.assert_allclose(points[2], spherical(90, 20), atol=1e-12)
    gaps = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    np.testing.assert_allclose(gaps, gaps[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_multiview_rigs_look_at_the_origin(layout: str) -> None:
    cameras = multiview_cameras(13, 2.2, 0.8, (40, 30), seed=5, layout=layout, elevation_deg=15)
    assert len(cameras) == 13
    for camera in cameras:
        pixels, depth = camera.project([(0, 0, 0)])
        np.testing.assert_allclose(pixels[0], (20, 15), atol=1e-9)
        np.testing.assert_allclose(depth, 2.2)
        assert (camera.width, camera.height) == (40, 30)


def test_multiview_seed_decides() -> None:
    for layout in ("fibonacci", "uniform", "hemisphere"):
        a, b, c = (multiview_cameras(5, 2, 0.8, (8, 8), s, layout)[2].position for s in (1, 1, 2))
        assert np.array_equal(a, b)
        assert not np.allclose(a, c)


def test_multiview_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="layout 'spiral'"):
        multiview_cameras(4, 2, 0.8, (8, 8), layout="spiral")
    with pytest.raises(ValueError, match="count"):
        multiview_cameras(0, 2, 0.8, (8, 8))


@pytest.mark.parametrize("name", SIXVIEW_RIGS)
def test_six_view_rigs(name: str) -> None:
    rig = SIXVIEW_RIGS[name]
    cameras = sixview_cameras(rig, 320)
    assert rig.azimuths_deg == (30, 90, 150, 210, 270, 330)
    assert rig.elevations_deg[:2] == {"v1.1": (30, -20), "v1.2": (20, -10)}[name]
    for camera, azimuth, elevation in zip(
        cameras, rig.azimuths_deg, rig.elevations_deg, strict=True
    ):
        np.testing.assert_allclose(
            camera.position, spherical(azimuth, elevation, rig.distance), atol=1e-12
        )
        np.testing.assert_allclose(camera.project([(0, 0, 0)])[0][0], (160, 160), atol=1e-9)
        assert math.degrees(camera.camera_angle_x) == pytest.approx(rig.fov_deg)
    turned = sixview_cameras(rig, 320, input_azimuth_deg=60.0)
    np.testing.assert_allclose(
        turned[0].position, spherical(90, rig.elevations_deg[0], rig.distance), atol=1e-12
    )


def test_rig_v11_shows_a_unit_cube_whole_and_the_usual_distance_does_not() -> None:
    rig = SIXVIEW_RIGS["v1.1"]
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))

    def clipped(distance: float) -> bool:
        cameras = sixview_cameras(replace(rig, distance=distance), 320)
        pixels = np.concatenate([camera.project(corners)[0] for camera in cameras])
        return bool((pixels < 0).any() or (pixels > 320).any())

    assert not clipped(rig.distance)
    assert clipped(1.5)


def test_rig_v12_numbers() -> None:
    rig = SIXVIEW_RIGS["v1.2"]
    assert (rig.fov_deg, rig.distance, rig.object_radius) == (30.0, 1.866, 0.5)
