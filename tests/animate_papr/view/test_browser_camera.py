"""Views go to the browser's conventions and back, and mean there what they mean here."""

import numpy as np
import pytest
from ball_scene import ring_of_cameras

from animate_papr.view.browser_camera import from_ours, quaternion, rotation, to_ours
from blender_render.geometry.cameras import Camera, look_at


@pytest.mark.parametrize("size", [(64, 48), (40, 90)])
def test_there_and_back(size: tuple[int, int]) -> None:
    for camera in ring_of_cameras(9, size):
        back = to_ours(from_ours(camera), max(size))
        np.testing.assert_allclose(back.cam_to_world, camera.cam_to_world, atol=1e-12)
        assert (back.width, back.height) == size
        assert back.fl_y == pytest.approx(camera.fl_y)


def test_axes_are_opencvs() -> None:
    camera = Camera.from_angle_x(look_at((0.3, -2.0, 0.7)), 32, 24, 0.8)
    seen = from_ours(camera)
    right, down, ahead = rotation(seen.wxyz).T
    np.testing.assert_allclose(ahead, camera.forward, atol=1e-12)
    assert down[2] < 0  # the world's up is +Z
    np.testing.assert_allclose(np.cross(right, down), ahead, atol=1e-12)


def test_quaternions_of_all_rotations() -> None:
    rng = np.random.default_rng(0)
    for wxyz in [*rng.normal(size=(20, 4)), *np.eye(4)]:
        found = quaternion(rotation(wxyz))
        assert found[0] >= 0
        same = abs(found @ wxyz) / np.linalg.norm(wxyz)  # q and -q are one rotation
        assert same == pytest.approx(1.0)


def test_a_quarter_turn() -> None:
    turn = rotation(np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]))
    np.testing.assert_allclose(turn @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)
