"""Zero123's camera vector, lens and unit of length."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from blender_render.geometry.cameras import Camera, look_at, spherical
from sjc_papr.networks.rays import camera_rays
from sjc_papr.score_models.zero123.camera import FOV_DEG, HALF_TAN, Zero123Cameras, seen_by
from training_core.config import ConfigError


def camera(
    azimuth: float, elevation: float, radius: float, size: int = 8, half_tan: float = HALF_TAN
) -> Camera:
    pose = look_at(spherical(azimuth, elevation, radius))
    return Camera.from_angle_x(pose, size, size, 2.0 * math.atan(half_tan))


def vector_of_the_original(condition: Camera, target: Camera, unit: float) -> list[float]:
    """From world-to-camera matrices, as the training data had them."""
    angles = []
    for view in (condition, target):
        rotation, shift = view.world_to_cam[:3, :3], view.world_to_cam[:3, 3]
        x, y, z = -rotation.T @ shift
        length = math.sqrt(x * x + y * y + z * z)
        angles.append((math.acos(z / length), math.atan2(y, x), length / unit))
    (polar, azimuth, radius), (polar2, azimuth2, radius2) = angles
    turn = (azimuth2 - azimuth) % (2.0 * math.pi)
    return [polar2 - polar, math.sin(turn), math.cos(turn), radius2 - radius]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ((0.0, 20.0, 2.0), (0.0, 0.0, 1.0, 0.0)),
        # 30 degrees up: the polar angle shrinks.
        ((0.0, 50.0, 2.0), (-math.pi / 6.0, 0.0, 1.0, 0.0)),
        ((0.0, -10.0, 2.0), (math.pi / 6.0, 0.0, 1.0, 0.0)),
        # A quarter turn counter-clockwise, seen from above, is positive.
        ((90.0, 20.0, 2.0), (0.0, 1.0, 0.0, 0.0)),
        ((-90.0, 20.0, 2.0), (0.0, -1.0, 0.0, 0.0)),
        ((180.0, 20.0, 1.7), (0.0, 0.0, -1.0, -0.3)),
    ],
)
def test_vector_of_known_pairs(
    target: tuple[float, float, float], expected: tuple[float, float, float, float]
) -> None:
    vector = Zero123Cameras().vectors(camera(0.0, 20.0, 2.0), [camera(*target)])
    assert vector.dtype == torch.float32
    assert vector.tolist() == [pytest.approx(expected, abs=1e-6)]


def test_vectors_equal_the_original_s_for_any_pair() -> None:
    rng = np.random.default_rng(0)
    unit = 0.37
    views = [
        camera(float(a), float(e), float(r))
        for a, e, r in rng.uniform([-180, -85, 0.4], [180, 85, 0.9], (12, 3))
    ]
    vectors = Zero123Cameras(unit).vectors(views[0], views[1:])
    expected = [vector_of_the_original(views[0], view, unit) for view in views[1:]]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_stable_zero123_has_the_condition_s_polar_angle_last() -> None:
    cameras = Zero123Cameras(fourth="condition_polar")
    vectors = cameras.vectors(camera(0.0, 20.0, 2.0), [camera(90.0, 0.0, 1.8)])
    assert vectors[0].tolist() == pytest.approx(
        [math.radians(20.0), 1.0, 0.0, math.radians(70.0)], abs=1e-6
    )


def test_over_the_poles_azimuth_is_look_at_s() -> None:
    """Just beside the pole at azimuth 0 and upon it, the image is turned alike."""
    beside, upon = camera(0.0, 89.999, 2.0), camera(0.0, 90.0, 2.0)
    side = camera(30.0, 10.0, 2.0)
    vectors = Zero123Cameras().vectors(side, [beside, upon])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-4)
    np.testing.assert_allclose(beside.cam_to_world, upon.cam_to_world, atol=1e-4)


def test_radii_are_in_object_lengths() -> None:
    far = camera(0.0, 0.0, 1.5)
    assert Zero123Cameras(0.5).radius(far) == pytest.approx(3.0)
    assert not Zero123Cameras(0.5).in_range(far)
    assert Zero123Cameras(0.5, clamp=True).radius(far) == pytest.approx(2.2)
    assert Zero123Cameras(0.75).in_range(far)


def test_lens_is_the_training_data_s() -> None:
    assert pytest.approx(49.13, abs=0.01) == FOV_DEG
    made = Zero123Cameras().camera(camera(40.0, 10.0, 2.0, 20, 0.3), 256)
    assert math.degrees(made.camera_angle_x) == pytest.approx(FOV_DEG)
    assert (made.width, made.height) == (256, 256)


def test_clamped_radius_keeps_the_object_as_large_as_it_would_be() -> None:
    """A small thing at the origin is as many pixels long as at the clamped distance."""
    far = camera(40.0, 10.0, 4.0)
    seen = Zero123Cameras(clamp=True).camera(far, 64)
    meant = Zero123Cameras().camera(camera(40.0, 10.0, 2.2), 64)
    ends = np.array([[0.0, 0.0, -0.005], [0.0, 0.0, 0.005]])
    lengths = [np.ptp(view.project(ends)[0], axis=0)[1] for view in (seen, meant)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)


def test_wider_view_is_padding() -> None:
    """Half as wide again, in pixels of the same size: the image amid white."""
    image = torch.rand(3, 16, 16)
    narrow = camera(30.0, 20.0, 2.0, 16, HALF_TAN / 1.5)
    seen = seen_by(image, narrow, Zero123Cameras().camera(narrow, 24))
    torch.testing.assert_close(seen, F.pad(image, (4, 4, 4, 4), value=1.0), atol=1e-5, rtol=0)


def test_narrower_view_is_cropping() -> None:
    image = torch.rand(3, 24, 24)
    wide = camera(30.0, 20.0, 2.0, 24, HALF_TAN * 1.5)
    seen = seen_by(image, wide, Zero123Cameras().camera(wide, 16))
    torch.testing.assert_close(seen, image[:, 4:20, 4:20], atol=1e-5, rtol=0)


def test_smaller_pictures_are_averages() -> None:
    image = torch.rand(3, 32, 32)
    narrow = camera(30.0, 20.0, 2.0, 32, HALF_TAN / 1.5)
    seen = seen_by(image, narrow, Zero123Cameras().camera(narrow, 12))
    padded = F.pad(image, (8, 8, 8, 8), value=1.0)
    torch.testing.assert_close(seen, F.avg_pool2d(padded, 4), atol=1e-5, rtol=0)


def test_picture_s_own_size_may_differ_from_its_camera_s() -> None:
    image = torch.rand(3, 32, 32)
    large, small = (camera(30.0, 20.0, 2.0, size, 0.3) for size in (400, 32))
    wanted = Zero123Cameras().camera(large, 24)
    torch.testing.assert_close(seen_by(image, large, wanted), seen_by(image, small, wanted))


def test_camera_that_looks_past_the_origin_is_turned() -> None:
    """Images of a smooth scene infinitely far away: only the turn matters, and it is exact."""
    eye = spherical(30.0, 20.0, 2.0)
    pose = look_at(eye, (0.1, 0.15, -0.1), (0.2, 0.1, 1.0))  # beside the origin, rolled
    skewed = Camera(pose, 300, 200, 210.0, 180.0, 140.0, 95.0)
    wanted = Zero123Cameras().camera(skewed, 32)

    def picture_of(view: Camera) -> torch.Tensor:
        directions = camera_rays(view).directions[0]
        return (0.5 + 0.3 * torch.sin(5.0 * directions)).permute(2, 0, 1)

    seen = seen_by(picture_of(skewed), skewed, wanted)
    truth = picture_of(wanted)
    # Where nothing beyond the edges, which is white, comes in.
    inside = seen_by(torch.zeros(3, 200, 300), skewed, wanted)[0].abs() < 1e-6
    assert inside.float().mean() > 0.7
    # Off by a pixel, a turned axis or a swapped focal length would be tens of times that.
    assert (seen - truth)[:, inside].abs().max() < 4e-3


def test_target_views_zero123_would_misread_are_refused() -> None:
    cameras = Zero123Cameras()
    right = camera(30.0, 20.0, 2.0)
    cameras.require(right)
    cameras.require(camera(0.0, 90.0, 2.0))
    with pytest.raises(ConfigError, match=r"49\.13 degrees .* has 39\.60"):
        cameras.require(camera(30.0, 20.0, 2.0, 8, math.tan(math.radians(19.8))))
    with pytest.raises(ConfigError, match="square"):
        cameras.require(right.resized(8, 6))
    beside = look_at(right.position, (0.2, 0.0, 0.0))
    rolled = look_at(right.position, (0.0, 0.0, 0.0), (1.0, 0.0, 1.0))
    for pose in (beside, rolled):
        turned = Camera(pose, 8, 8, right.fl_x, right.fl_y, 4.0, 4.0)
        with pytest.raises(ConfigError, match="upright"):
            cameras.require(turned)
