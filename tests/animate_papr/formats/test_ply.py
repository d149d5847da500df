"""PLY bytes come back exactly, and senseless clouds are refused."""

import numpy as np
import pytest
from ply_reader import read_ply

from animate_papr.formats.ply import encode_ply


def test_values_come_back_exactly() -> None:
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(57, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (57, 3), dtype=np.uint8)
    columns, comments = read_ply(encode_ply(positions, rgb, ["one", "two 2"]))
    np.testing.assert_array_equal(np.stack([columns[n] for n in "xyz"], 1), positions)
    stored = np.stack([columns[n] for n in ("red", "green", "blue")], 1)
    np.testing.assert_array_equal(stored, rgb)
    assert comments == ["one", "two 2"]


def test_triangles_follow_the_vertices() -> None:
    triangles = np.array([[0, 2, 1], [3, 0, 1]])
    data = encode_ply(np.zeros((4, 3)), np.zeros((4, 3), np.uint8), (), triangles)
    header, _, body = data.partition(b"end_header\n")
    assert b"element face 2\nproperty list uchar int vertex_indices\n" in header
    faces = np.frombuffer(body[4 * 15 :], np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    np.testing.assert_array_equal(faces["corners"], triangles)
    assert (faces["count"] == 3).all()


def test_no_points_are_a_valid_file() -> None:
    columns, _ = read_ply(encode_ply(np.zeros((0, 3)), np.zeros((0, 3), np.uint8)))
    assert len(columns["x"]) == 0


@pytest.mark.parametrize(
    ("positions", "rgb", "why"),
    [
        (np.zeros((4, 2)), np.zeros((4, 2), np.uint8), r"\[P, 3\]"),
        (np.zeros((4, 3)), np.zeros((5, 3), np.uint8), r"\[P, 3\]"),
        (np.zeros((4, 3)), np.zeros((4, 3)), "uint8"),
        (np.full((4, 3), np.inf), np.zeros((4, 3), np.uint8), "finite"),
    ],
)
def test_bad_input_is_refused(positions: np.ndarray, rgb: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode_ply(positions, rgb)
