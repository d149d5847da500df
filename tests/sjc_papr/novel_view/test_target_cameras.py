"""Targets cover the sphere evenly, outside the object, with the field of view of the images."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_scene import cameras, sphere_points

from blender_render.geometry.cameras import UNIT_CUBE_RADIUS, Camera, look_at, spherical
from sjc_papr.novel_view.geometry_config import TargetConfig
from sjc_papr.novel_view.target_cameras import TargetCameras, nearest_views
from training_core.config import ConfigError

WHOLE = TargetConfig(elevation_min_deg=-90.0, elevation_max_deg=90.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def directions(sampled: list[Camera]) -> np.ndarray:
    """Where the cameras stand, as unit vectors [N, 3]."""
    eyes = np.stack([camera.position for camera in sampled])
    return eyes / np.linalg.norm(eyes, axis=1, keepdims=True)


def scaled(camera: Camera, factor: float) -> Camera:
    """The same camera in a world of another scale."""
    pose = camera.cam_to_world.copy()
    pose[:3, 3] *= factor
    return replace(camera, cam_to_world=pose)


@pytest.mark.parametrize("low, high", [(-90.0, 90.0), (-10.0, 60.0)])
def test_uniform_over_the_area_between_the_elevations(low: float, high: float) -> None:
    """Each of 4 x 5 cells of equal area, and none beyond them, gets its share (6 sigma)."""
    config = TargetConfig(elevation_min_deg=low, elevation_max_deg=high)
    count = 8000
    eyes = directions(TargetCameras(cameras(3), config).sample(generator(), count, 8))
    bottom, top = math.sin(math.radians(low)), math.sin(math.radians(high))
    rise = (eyes[:, 2] - bottom) / (top - bottom)
    assert rise.min() > -1e-9 and rise.max() < 1.0 + 1e-9
    turn = np.arctan2(eyes[:, 0], -eyes[:, 1]) / (2.0 * math.pi) % 1.0
    cells, _, _ = np.histogram2d(rise, turn, bins=(4, 5), range=((0, 1), (0, 1)))
    share = 1.0 / 20
    spread = 6.0 * math.sqrt(count * share * (1.0 - share))
    assert np.abs(cells - count * share).max() < spread


def test_they_look_at_the_origin_upright_from_the_training_distance() -> None:
    for camera in TargetCameras(cameras(5), WHOLE).sample(generator(), 50, 8):
        assert np.linalg.norm(camera.position) == pytest.approx(2.5)
        assert np.allclose(camera.forward, -camera.position / 2.5, atol=1e-9)
        assert abs(camera.cam_to_world[2, 0]) < 1e-9 and camera.cam_to_world[2, 1] >= 0.0


def test_distances_fill_their_range() -> None:
    config = replace(WHOLE, radius_min=0.8, radius_max=1.4)
    sampled = TargetCameras(cameras(5), config).sample(generator(), 400, 8)
    distances = np.array([np.linalg.norm(camera.position) for camera in sampled]) / 2.5
    assert distances.min() >= 0.8 and distances.max() <= 1.4
    counts, _ = np.histogram(distances, bins=4, range=(0.8, 1.4))
    assert counts.min() > 60


@pytest.mark.parametrize("resolution", [8, 32, 256])
def test_a_small_target_is_the_whole_view_not_a_keyhole(resolution: int) -> None:
    """Known fault: targets had the size of a training patch and the focal length of the whole
    image, a field of view of 1.4 degrees.
    """
    training = cameras(4, (100, 80))
    (target,) = TargetCameras(training, WHOLE).sample(generator(), 1, resolution)
    assert (target.width, target.height) == (resolution, resolution)
    assert target.camera_angle_x == pytest.approx(training[0].camera_angle_x)
    assert target.fl_x == target.fl_y
    assert (target.cx, target.cy) == (resolution / 2, resolution / 2)
    seen = sphere_points(200).positions.numpy()
    pixels, depth = target.project(seen)
    assert (depth > 0).all() and (pixels > 0).all() and (pixels < resolution).all()


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (24, 24)])
def test_all_that_training_pictures_show_is_in_the_target(size: tuple[int, int]) -> None:
    training = cameras(4, size)
    widest = max(size) / 2 / training[0].fl_x
    (square,) = TargetCameras(training, WHOLE).sample(generator(), 1, 16)
    assert math.tan(0.5 * square.camera_angle_x) == pytest.approx(widest)
    half = (size[0] // 2, size[1] // 2)
    (same_aspect,) = TargetCameras(training, WHOLE).sample(generator(), 1, half)
    expected = training[0].resized(*half)
    assert (same_aspect.fl_x, same_aspect.fl_y) == pytest.approx((expected.fl_x, expected.fl_y))
    asked = replace(WHOLE, fov_deg=49.13)
    (zoomed,) = TargetCameras(training, asked).sample(generator(), 1, 16)
    assert math.degrees(zoomed.camera_angle_x) == pytest.approx(49.13)


@pytest.mark.parametrize("world", [1.0, 10.0])
def test_targets_stand_outside_the_object_whatever_the_world_measures(world: float) -> None:
    """Known fault: targets stood 1.8 to 2.2 units away in a world scaled by ten, inside the cloud,
    with 42% of the points behind them.
    """
    training = [scaled(camera, world) for camera in cameras(4)]
    sampled = TargetCameras(training, WHOLE, object_length=world).sample(generator(), 100, 8)
    corners = world * (np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), -1).reshape(-1, 3))
    for camera in sampled:
        assert np.linalg.norm(camera.position) == pytest.approx(2.5 * world)
        assert camera.project(corners)[1].min() > 0.0
    inside = replace(WHOLE, radius_min=0.9 * UNIT_CUBE_RADIUS / 2.5)
    with pytest.raises(ConfigError, match=r"radius_min.*inside the object"):
        TargetCameras(training, inside, object_length=world)


def test_targets_depend_on_the_generator_alone_and_never_run_out() -> None:
    """Known fault: 10000 poses were drawn anew in every step and indexed by the step, so the index
    meant nothing, and step 10000 of 250000 ended in an IndexError.
    """
    targets = TargetCameras(cameras(4), WHOLE)

    def eyes(step: int) -> np.ndarray:
        return directions(targets.sample(generator(step), 2, 8))

    assert np.array_equal(eyes(7), eyes(7))
    steps = [eyes(step) for step in (0, 1, 9999, 10000, 249999)]
    apart = [np.abs(a - b).max() for i, a in enumerate(steps) for b in steps[:i]]
    assert min(apart) > 1e-3
    one = generator()
    first, second = targets.sample(one, 3, 8), targets.sample(one, 3, 8)
    assert np.array_equal(directions(first + second), directions(targets.sample(generator(), 6, 8)))


def test_training_cameras_stay_as_they_are() -> None:
    """Known fault: normalising the radius of a pose wrote into the dataset's own pose."""
    training = cameras(4)
    before = [camera.cam_to_world.copy() for camera in training]
    targets = TargetCameras(training, replace(WHOLE, radius_min=0.6, radius_max=0.7))
    targets.sample(generator(), 20, 8)
    nearest_views(training, training[1], 3)
    for camera, pose in zip(training, before, strict=True):
        assert np.array_equal(camera.cam_to_world, pose)


def test_nearest_view_is_the_smallest_angle() -> None:
    training = cameras(12)
    for target in TargetCameras(training, WHOLE).sample(generator(), 30, 8):
        angles = [math.acos(float(np.clip(c.forward @ target.forward, -1, 1))) for c in training]
        order = sorted(range(12), key=lambda i: (angles[i], i))
        assert nearest_views(training, target, 4) == order[:4]


def test_nearest_view_goes_by_direction_not_by_distance() -> None:
    def at(azimuth: float, radius: float) -> Camera:
        return Camera.from_angle_x(look_at(spherical(azimuth, 10.0, radius)), 8, 8, 0.6)

    target = at(0.0, 2.0)
    assert nearest_views([at(60.0, 2.0), at(20.0, 9.0), at(-40.0, 2.0)], target, 1) == [1]
    # The first of equals.
    assert nearest_views([at(30.0, 2.0), at(30.0, 3.0)], target, 1) == [0]


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"elevation_min_deg": 50.0, "elevation_max_deg": 20.0}, "ascend"),
        ({"elevation_max_deg": 91.0}, "ascend"),
        ({"radius_min": 0.0}, "radius_min"),
        ({"radius_min": 2.0, "radius_max": 1.0}, "radius_max"),
        ({"fov_deg": 180.0}, "fov_deg"),
    ],
)
def test_bad_ranges_are_refused(bad: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TargetConfig(**bad).validate()
