"""The browser's camera and ours.

viser's cameras have OpenCV's axes (+X right, +Y down, looking along +Z), a unit quaternion
(w, x, y, z) from the camera to the world, and a vertical field of view in radians. Ours have
OpenGL's axes; both worlds are right-handed with +Z up.
"""

import math
from typing import NamedTuple

import numpy as np

from blender_render.geometry.cameras import Camera

_FLIP = np.diag([1.0, -1.0, -1.0])  # between OpenGL's and OpenCV's camera axes, both ways


class BrowserCamera(NamedTuple):
    """wxyz [4] camera to world, position [3], vertical field of view in radians, width / height."""

    wxyz: np.ndarray
    position: np.ndarray
    fov: float
    aspect: float


def to_ours(seen: BrowserCamera, longest: int) -> Camera:
    """The same view with square pixels, `longest` of them along the longer side."""
    if seen.aspect >= 1:
        width, height = longest, max(1, round(longest / seen.aspect))
    else:
        width, height = max(1, round(longest * seen.aspect)), longest
    pose = np.eye(4)
    pose[:3, :3] = rotation(seen.wxyz) @ _FLIP
    pose[:3, 3] = seen.position
    focal = 0.5 * height / math.tan(0.5 * seen.fov)
    return Camera(pose, width, height, focal, focal, width / 2, height / 2)


def from_ours(camera: Camera) -> BrowserCamera:
    """Where the browser has to stand for the same view; a shifted principal point is lost."""
    fov = 2.0 * math.atan(0.5 * camera.height / camera.fl_y)
    wxyz = quaternion(camera.cam_to_world[:3, :3] @ _FLIP)
    return BrowserCamera(wxyz, camera.position.copy(), fov, camera.width / camera.height)


def rotation(wxyz: np.ndarray) -> np.ndarray:
    """[3, 3] of a quaternion [4], which need not be normalised."""
    w, x, y, z = np.asarray(wxyz, np.float64) / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """[4] (w, x, y, z), w >= 0, of a rotation [3, 3].

    It is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000), which
    is stable for every rotation.
    """
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(matrix, np.float64)
    symmetric = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    wxyz = np.linalg.eigh(symmetric)[1][:, -1]
    return np.asarray(wxyz if wxyz[0] >= 0 else -wxyz)
