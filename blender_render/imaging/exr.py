"""Reading the one kind of OpenEXR file that the renderer writes for depth.

Blender gives passes other than the image only through its compositor, whose interface changed
between 4.2 and 5.0, or in a multi-layer EXR. The latter, uncompressed, is a header and rows of
raw floats, so reading it here needs neither the compositor nor an EXR library. Format: "OpenEXR
File Layout", openexr.com. Blender ships OpenImageIO, but ``import OpenImageIO`` fails with bpy as a
module (tried with 5.0.1), so it cannot take the place of this.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = 20000630
MULTIPART_FLAG = 0x1000
TILED_FLAG = 0x200
PIXEL_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}


@dataclass(frozen=True)
class Header:
    """Channel names with their types in file order, the size, and where the offset table starts."""

    channels: list[tuple[str, np.dtype[Any]]]
    width: int
    height: int
    first_row: int
    end: int


def read_channel(data: bytes, suffix: str) -> npt.NDArray[np.float32]:
    """The channel whose name ends with ``suffix`` (such as "Depth.Z") as float32 [H, W].

    Raises:
        ValueError: not an uncompressed single-part scan-line EXR, cut short, or not exactly one
            such channel.
    """
    header = _read_header(data)
    matching = [i for i, (name, _) in enumerate(header.channels) if name.endswith(suffix)]
    if len(matching) != 1:
        raise ValueError(f"EXR channels {[n for n, _ in header.channels]}: need one {suffix!r}")
    skip = sum(t.itemsize for _, t in header.channels[: matching[0]]) * header.width
    dtype = header.channels[matching[0]][1]
    offsets = struct.unpack_from(f"<{header.height}Q", data, header.end)
    image = np.empty((header.height, header.width), dtype=np.float32)
    for offset in offsets:
        # A file cut short by a full disk has an offset table of zeros.
        if not header.end < offset < len(data) - 8:
            raise ValueError("EXR file is cut short")
        (row,) = struct.unpack_from("<i", data, offset)
        image[row - header.first_row] = np.frombuffer(
            data, dtype, count=header.width, offset=offset + 8 + skip
        )
    return image


def _read_header(data: bytes) -> Header:
    if len(data) < 8:
        raise ValueError("not an EXR file")
    magic, version = struct.unpack_from("<iI", data)
    if magic != MAGIC or version & (MULTIPART_FLAG | TILED_FLAG):
        raise ValueError("not a single-part scan-line EXR file")
    attributes: dict[str, bytes] = {}
    at = 8
    while data[at]:
        name, at = _string(data, at)
        _, at = _string(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        attributes[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    if attributes["compression"] != b"\x00":
        raise ValueError("EXR file is compressed")
    x_min, y_min, x_max, y_max = struct.unpack("<4i", attributes["dataWindow"])
    channels = _channels(attributes["channels"])
    return Header(channels, x_max - x_min + 1, y_max - y_min + 1, y_min, at + 1)


def _channels(raw: bytes) -> list[tuple[str, np.dtype[Any]]]:
    channels: list[tuple[str, np.dtype[Any]]] = []
    at = 0
    while raw[at]:
        name, at = _string(raw, at)
        (kind,) = struct.unpack_from("<i", raw, at)
        channels.append((name, PIXEL_TYPES[kind]))
        at += 16
    return channels


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\x00", at)
    return data[at:end].decode("utf-8"), end + 1
