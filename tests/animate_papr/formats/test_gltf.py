"""Animated GLB: read by the specification alone, and by Blender."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blender_runs import needs_blender
from glb_reader import read_glb

from animate_papr.formats.gltf import encode_glb, linear_rgb, to_gltf_axes

FPS = 7.5  # no whole number of Blender's frames


@pytest.fixture(scope="module")
def motion() -> tuple[np.ndarray, np.ndarray]:
    """Positions [4, 31, 3] far from the origin and colours [31, 3]."""
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(4, 31, 3)) + np.array([5.0, -3.0, 2.0])
    return positions, rng.integers(0, 256, (31, 3), dtype=np.uint8)


def test_every_frame_comes_back_at_its_time(motion: tuple[np.ndarray, np.ndarray]) -> None:
    positions, rgb = motion
    glb = read_glb(encode_glb(positions, rgb, fps=FPS))
    assert glb.primitive["mode"] == 0
    for k, frame in enumerate(positions):
        np.testing.assert_allclose(glb.at(k / FPS), to_gltf_axes(frame), atol=2e-6)
    half = (positions[1] + positions[2]) / 2
    np.testing.assert_allclose(glb.at(1.5 / FPS), to_gltf_axes(half), atol=2e-6)


def test_a_loop_ends_where_it_began(motion: tuple[np.ndarray, np.ndarray]) -> None:
    positions, rgb = motion
    glb = read_glb(encode_glb(positions, rgb, fps=FPS, loop=True))
    np.testing.assert_allclose(glb.at(4 / FPS), to_gltf_axes(positions[0]), atol=2e-6)
    half = (positions[3] + positions[0]) / 2
    np.testing.assert_allclose(glb.at(3.5 / FPS), to_gltf_axes(half), atol=2e-6)


def test_up_is_y_and_no_side_is_swapped() -> None:
    axes = to_gltf_axes(np.eye(3))
    np.testing.assert_array_equal(axes, [[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_colours_are_linear_and_come_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    linear = linear_rgb(np.stack([levels] * 3, 1))[:, 0] / 65535.0
    back = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.rint(back * 255), levels)


def test_a_mesh_has_its_triangles_and_a_still_one_no_animation() -> None:
    positions = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], float)
    triangles = np.array([[0, 2, 1], [0, 1, 3]])
    glb = read_glb(encode_glb(positions, np.zeros((4, 3), np.uint8), fps=1, triangles=triangles))
    assert glb.primitive["mode"] == 4
    np.testing.assert_array_equal(glb.array(glb.primitive["indices"]).reshape(-1, 3), triangles)
    assert "animations" not in glb.content and "targets" not in glb.primitive


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"positions": np.zeros((2, 0, 3))}, r"\[T, P, 3\]"),
        ({"positions": np.full((2, 4, 3), np.nan)}, "finite"),
        ({"rgb": np.zeros((4, 3))}, "uint8"),
        ({"fps": 0}, "fps"),
        ({"triangles": np.array([[0, 1, 4]])}, "not there"),
        ({"triangles": np.zeros((0, 3), int)}, "triangles"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], why: str) -> None:
    good = {"positions": np.zeros((2, 4, 3)), "rgb": np.zeros((4, 3), np.uint8), "fps": 8}
    with pytest.raises(ValueError, match=why):
        encode_glb(**(good | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_blender) for kind in ("points", "mesh")]
)
def test_blender_shows_every_frame_where_it_was(
    kind: str, motion: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    positions, rgb = motion
    triangles = np.arange(30).reshape(-1, 3) if kind == "mesh" else None
    if kind == "mesh":  # Blender drops vertices without a face
        positions, rgb = positions[:, :30], rgb[:30]
    (tmp_path / "it.glb").write_bytes(encode_glb(positions, rgb, fps=FPS, triangles=triangles))
    script = Path(__file__).parents[1] / "helpers" / "import_glb.py"
    files = [str(tmp_path / "it.glb"), str(tmp_path / "it.npz")]
    subprocess.run([sys.executable, str(script), *files, str(FPS), "4"], check=True, timeout=120)
    found = np.load(tmp_path / "it.npz")
    np.testing.assert_allclose(found["positions"], positions, atol=3e-6)
    if triangles is not None:
        np.testing.assert_array_equal(found["triangles"], triangles)
    else:
        np.testing.assert_allclose(found["rgb"], linear_rgb(rgb) / 65535.0, atol=1e-4)
