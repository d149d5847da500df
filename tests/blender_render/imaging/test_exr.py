"""The reader for uncompressed EXR, on files written here by the format's definition."""

import struct

import numpy as np
import pytest

from blender_render.imaging.exr import read_channel


def attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def write_exr(channels: dict[str, np.ndarray], first_row: int = 0, compression: int = 0) -> bytes:
    """Channels [H, W] of one size, float32 or float16, in the (sorted) order of their names."""
    height, width = next(iter(channels.values())).shape
    names = sorted(channels)
    listed = b"".join(
        n.encode() + b"\0" + struct.pack("<iB3xii", 1 if channels[n].itemsize == 2 else 2, 0, 1, 1)
        for n in names
    )
    window = struct.pack("<4i", 0, first_row, width - 1, first_row + height - 1)
    header = struct.pack("<iI", 20000630, 2)
    header += attribute("channels", "chlist", listed + b"\0")
    header += attribute("compression", "compression", bytes([compression]))
    header += attribute("dataWindow", "box2i", window) + b"\0"
    rows = []
    for y in range(height):
        data = b"".join(channels[n][y].tobytes() for n in names)
        rows.append(struct.pack("<ii", first_row + y, len(data)) + data)
    at, offsets = len(header) + 8 * height, b""
    for row in rows:
        offsets += struct.pack("<Q", at)
        at += len(row)
    return header + offsets + b"".join(rows)


def picture(seed: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 5, (3, 4)).astype(dtype)


def test_reads_one_channel_among_others_of_other_types() -> None:
    depth, half = picture(0), picture(1, np.float16)
    data = write_exr({"L.Combined.A": half, "L.Combined.R": picture(2), "L.Depth.Z": depth})
    np.testing.assert_array_equal(read_channel(data, "Depth.Z"), depth)
    np.testing.assert_array_equal(read_channel(data, "Combined.A"), half.astype(np.float32))


def test_first_row_need_not_be_zero() -> None:
    depth = picture(3)
    np.testing.assert_array_equal(read_channel(write_exr({"Depth.Z": depth}, 7), "Depth.Z"), depth)


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="need one"):
        read_channel(write_exr({"A": picture(0)}), "Depth.Z")
    with pytest.raises(ValueError, match="compressed"):
        read_channel(write_exr({"Depth.Z": picture(0)}, compression=3), "Depth.Z")
    with pytest.raises(ValueError, match="not a single-part"):
        read_channel(b"\x89PNG\r\n\x1a\n" + bytes(20), "Depth.Z")
    whole = write_exr({"Depth.Z": picture(0)})
    with pytest.raises(ValueError, match=r"cut short|buffer"):
        read_channel(whole[:-20], "Depth.Z")
    with pytest.raises(ValueError, match="not an EXR"):
        read_channel(b"", "Depth.Z")
