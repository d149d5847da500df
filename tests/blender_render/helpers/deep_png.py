"""PNG files of 16 bits a channel, which Pillow reads but does not write in colour."""

import struct
import zlib

import numpy as np

# PNG's number of each kind of pixel, by channels.
KINDS = {1: 0, 2: 4, 3: 2, 4: 6}


def encode_png16(pixels: np.ndarray) -> bytes:
    """uint16 [H, W, C] of 1 to 4 channels (grey, grey and alpha, RGB, RGBA) as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, KINDS[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content
