"""PLY bytes, read back by a reader that goes by the header alone."""

import numpy as np
import pytest

from animate_papr.ply import encode_ply

TYPES = {"float": "<f4", "uchar": "u1"}


def read_ply(data: bytes) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns by name and comments of a binary little endian PLY with one element."""
    header, _, body = data.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    words = [line.split() for line in lines[2:]]
    count = next(int(w[2]) for w in words if w[:2] == ["element", "vertex"])
    dtype = np.dtype([(w[2], TYPES[w[1]]) for w in words if w[0] == "property"])
    assert len(body) == count * dtype.itemsize
    table = np.frombuffer(body, dtype)
    comments = [line.removeprefix("comment ") for line in lines if line.startswith("comment ")]
    return {name: table[name] for name in table.dtype.names or ()}, comments


def test_values_come_back_exactly() -> None:
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(57, 3)).astype(np.float32)
    rgb = rng.integers(0, 256, (57, 3), dtype=np.uint8)
    columns, comments = read_ply(encode_ply(positions, rgb, ["one", "two 2"]))
    np.testing.assert_array_equal(np.stack([columns[n] for n in "xyz"], 1), positions)
    stored = np.stack([columns[n] for n in ("red", "green", "blue")], 1)
    np.testing.assert_array_equal(stored, rgb)
    assert comments == ["one", "two 2"]


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
