"""meshopt's codecs undone: the specification's examples, and what a plain encoder makes."""

import numpy as np
import pytest
from meshopt_encoder import encode_attributes, encode_indices, encode_triangles, group

from blender_render.rendering import meshopt

# The specification's example: sixteen differences, coded in four bits each.
EXAMPLE = bytes.fromhex("175ff0bc77a9210034b5")
DIFFERENCES = [-1, -4, -3, 26, -91, 0, -6, 6, -4, -4, 5, -5, 1, -1, 0, 0]


def test_the_example_of_the_specification() -> None:
    data = bytes([0xA0, 0b10]) + EXAMPLE + bytes(31) + bytes([100])
    values = meshopt.decode_attributes(data, 16, 1)
    assert values[:, 0].tolist() == [int(v) % 256 for v in 100 + np.cumsum(DIFFERENCES)]
    zigzags = [2 * d if d >= 0 else -2 * d - 1 for d in DIFFERENCES]
    assert group(zigzags, 4) == EXAMPLE  # the tests' encoder knows it as well


@pytest.mark.parametrize("count", [0, 1, 16, 200, 600])
@pytest.mark.parametrize("stride", [4, 12, 64])
def test_attributes_come_back(count: int, stride: int) -> None:
    draw = np.random.default_rng(count + stride)
    steps = draw.integers(-9, 10, (count, stride))
    steps[:, 1::3] = 0
    steps[:, 2::4] = draw.integers(-128, 128, steps[:, 2::4].shape)
    elements = (np.cumsum(steps, 0) % 256).astype(np.uint8)
    data = encode_attributes(elements)
    assert count < 100 or len(data) < elements.size
    np.testing.assert_array_equal(meshopt.decode_attributes(data, count, stride), elements)


@pytest.mark.parametrize("seed", range(8))
def test_triangles_come_back(seed: int) -> None:
    side, draw = 9, np.random.default_rng(seed)
    corners = [(x, y) for y in range(side - 1) for x in range(side - 1)]
    cells = [x + side * y for x, y in corners]
    triangles = [t for a in cells for t in ((a, a + 1, a + side), (a + side, a + 1, a + side + 1))]
    triangles += [tuple(draw.integers(0, 300, 3).tolist()) for _ in range(20)]
    if seed % 2:  # numbered as they come, which has the shortest codes
        order = {v: i for i, v in enumerate(dict.fromkeys(v for t in triangles for v in t))}
        triangles = [(order[a], order[b], order[c]) for a, b, c in triangles]
    data, expected = encode_triangles(triangles, seed)
    assert meshopt.decode_triangles(data, len(expected)) == expected


def test_indices_come_back() -> None:
    indices = [0, 1, 5000, 2, 5001, 3, 100_000, 4, 0]
    assert meshopt.decode_indices(encode_indices(indices), len(indices)) == indices
    assert meshopt.decode(encode_indices(indices), 9, 4, "INDICES")[8:12] == b"\x88\x13\0\0"
    with pytest.raises(ValueError, match="larger than 2 bytes"):
        meshopt.decode(encode_indices(indices), 9, 2, "INDICES")


@pytest.mark.parametrize(("bits", "dtype"), [(6, np.int8), (8, np.int8), (10, np.int16)])
def test_octahedral_vectors(bits: int, dtype: type) -> None:
    draw = np.random.default_rng(bits)
    wanted = draw.standard_normal((200, 3))
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    flat = wanted / np.abs(wanted).sum(1, keepdims=True)
    x, y = flat[:, 0], flat[:, 1]
    folded = np.stack([(1 - abs(y)) * np.sign(x), (1 - abs(x)) * np.sign(y)], 1)
    one = (1 << (bits - 1)) - 1
    packed = np.full((200, 4), one, dtype)
    packed[:, :2] = np.rint(np.where(wanted[:, 2:] < 0, folded, flat[:, :2]) * one)
    packed[:, 3] = 7
    size = packed.itemsize * 4
    data = encode_attributes(packed.view(np.uint8))
    made = np.frombuffer(meshopt.decode(data, 200, size, "ATTRIBUTES", "OCTAHEDRAL"), dtype)
    made = made.reshape(200, 4)
    assert (made[:, 3] == 7).all()
    off = np.abs(made[:, :3] / np.iinfo(dtype).max - wanted).max()
    assert off < 2.5 / one


def test_quaternions() -> None:
    draw = np.random.default_rng(0)
    wanted = draw.standard_normal((100, 4))
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    largest = np.abs(wanted).argmax(1)
    wanted *= np.sign(np.take_along_axis(wanted, largest[:, None], 1))
    one = (1 << 11) - 1
    others = np.take_along_axis(wanted, (largest[:, None] + [1, 2, 3]) % 4, 1)
    packed = np.empty((100, 4), np.int16)
    packed[:, :3] = np.rint(others * np.sqrt(2) * one)
    packed[:, 3] = one & ~3 | largest
    data = encode_attributes(packed.view(np.uint8))
    made = np.frombuffer(meshopt.decode(data, 100, 8, "ATTRIBUTES", "QUATERNION"), np.int16)
    np.testing.assert_allclose(made.reshape(100, 4) / 32767, wanted, atol=2.0 / one)


def test_exponential_numbers() -> None:
    packed = np.array([[3 | (-1 << 24)], [-5 & 0xFFFFFF | (4 << 24)]], np.int64).astype(np.uint32)
    data = encode_attributes(packed.view(np.uint8))
    made = np.frombuffer(meshopt.decode(data, 2, 4, "ATTRIBUTES", "EXPONENTIAL"), np.float32)
    assert made.tolist() == [1.5, -80.0]


def test_damaged_data_is_refused() -> None:
    elements = np.arange(480, dtype=np.uint8).reshape(40, 12) * 7
    good, _ = encode_triangles([(0, 1, 2), (2, 1, 3), (7, 9, 8)], 0)
    for data, mode, count in (
        (encode_attributes(elements), "ATTRIBUTES", 40),
        (encode_indices([5, 6, 900]), "INDICES", 3),
        (good, "TRIANGLES", 9),
    ):
        stride = 12 if mode == "ATTRIBUTES" else 4
        assert meshopt.decode(data, count, stride, mode)
        for cut in (*range(0, len(data), 3), len(data) - 1):
            with pytest.raises(ValueError, match=r"damaged|version"):
                meshopt.decode(data[:cut], count, stride, mode)
        with pytest.raises(ValueError, match="version 15"):
            meshopt.decode(bytes([data[0] | 15]) + data[1:], count, stride, mode)
    with pytest.raises(ValueError, match="cannot be"):
        meshopt.decode(b"\xa0" + bytes(32), 1 << 30, 16, "ATTRIBUTES")
    with pytest.raises(ValueError, match="filter COLOUR"):
        meshopt.decode(encode_attributes(elements), 40, 12, "ATTRIBUTES", "COLOUR")
