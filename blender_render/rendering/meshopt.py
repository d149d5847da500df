"""Decoding of meshopt's compression of buffers: version 0 of its three codecs, and its filters.

Source: the specification of glTF's extension EXT_meshopt_compression, appendices A (bitstream) and
B (filters).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

# Compressed data may stand for 64 times as much; this is far above any character's.
LARGEST_BYTES = 1 << 30
_GROUP, _BLOCK_BYTES, _BLOCK_ELEMENTS, _TAIL = 16, 8192, 256, 32


def decode(data: bytes, count: int, stride: int, mode: str, filter_name: str = "NONE") -> bytes:
    """The ``count`` elements of ``stride`` bytes that a compressed view stands for.

    Args:
        mode: ATTRIBUTES, TRIANGLES or INDICES. filter_name: NONE, OCTAHEDRAL, QUATERNION,
            EXPONENTIAL.

    Raises:
        ValueError: the data is damaged, of another version, or too large.
    """
    if count < 0 or not 0 < stride <= 256 or count * stride > LARGEST_BYTES:
        raise ValueError(f"{count} elements of {stride} bytes cannot be")
    if mode == "ATTRIBUTES":
        return _filtered(decode_attributes(data, count, stride), filter_name).tobytes()
    if mode not in ("TRIANGLES", "INDICES") or stride not in (2, 4):
        raise ValueError(f"mode {mode} with {stride} bytes is not known")
    numbers = (decode_triangles if mode == "TRIANGLES" else decode_indices)(data, count)
    if count and max(numbers) >= 1 << 8 * stride:
        raise ValueError(f"an index is larger than {stride} bytes hold")
    return np.array(numbers, f"<u{stride}").tobytes()


def decode_attributes(data: bytes, count: int, stride: int) -> Bytes:
    """Mode 0: bytes [count, stride], differences to the element before, byte by byte.

    Raises:
        ValueError: damaged, or of another version.
    """
    _require(data, 0xA0, 1 + max(_TAIL, stride))
    end = len(data) - max(_TAIL, stride)
    made = np.empty((count, stride), np.uint8)
    last = np.frombuffer(data[len(data) - stride :], np.uint8)
    longest = min(_BLOCK_BYTES // stride & ~(_GROUP - 1), _BLOCK_ELEMENTS)
    at = 1
    for start in range(0, count, longest):
        size = min(longest, count - start)
        groups = -(-size // _GROUP)
        for byte in range(stride):
            deltas, at = _deltas(data, at, groups)
            signed = (deltas >> 1) ^ (0 - (deltas & 1))
            steps = np.cumsum(signed[:size], dtype=np.uint8)
            made[start : start + size, byte] = steps + last[byte]
        last = made[start + size - 1]
    if at != end:
        raise ValueError("the data is damaged: it ends at another place than it says")
    return made


def _deltas(data: bytes, at: int, groups: int) -> tuple[Bytes, int]:
    """Zigzag numbers [16 · groups] of one byte of a block's elements, and where they end."""
    header, at = data[at : at + -(-groups // 4)], at + -(-groups // 4)
    made = np.zeros((groups, _GROUP), np.uint8)
    for group in range(groups):
        if group // 4 >= len(header):
            raise ValueError("the data is damaged: it ends early")
        bits = (0, 2, 4, 8)[header[group // 4] >> 2 * (group % 4) & 3]
        if not bits:
            continue
        packed = np.frombuffer(data[at : at + 2 * bits], np.uint8)
        if len(packed) < 2 * bits:
            raise ValueError("the data is damaged: it ends early")
        at += 2 * bits
        if bits == 8:
            made[group] = packed
            continue
        places = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        top = (1 << bits) - 1
        made[group] = (packed[:, None] >> places & top).ravel()
        (whole,) = np.nonzero(made[group] == top)
        instead = np.frombuffer(data[at : at + len(whole)], np.uint8)
        if len(instead) < len(whole):
            raise ValueError("the data is damaged: it ends early")
        made[group, whole] = instead
        at += len(whole)
    return made.ravel(), at


def decode_triangles(data: bytes, count: int) -> list[int]:
    """Mode 1: ``count`` indices, three to a triangle, by edges and vertices seen shortly before.

    Raises:
        ValueError: damaged, or of another version.
    """
    _require(data, 0xE1, 17 + count // 3)
    if count % 3:
        raise ValueError("the number of indices is no multiple of three")
    codes, table = data[1 : 1 + count // 3], data[-16:]
    rest = iter(data[1 + count // 3 : -16])
    edges: deque[tuple[int, int]] = deque([(0, 0)] * 16, 16)
    vertices: deque[int] = deque([0] * 16, 16)
    made: list[int] = []
    new = last = 0

    def index() -> int:
        nonlocal last
        last = (last + _signed(_varint(rest))) & 0xFFFFFFFF
        return last

    def corner(nibble: int) -> int:
        """Of a triangle without a known edge: the next new vertex, or one seen before."""
        nonlocal new
        if nibble:
            return index() if nibble == 15 else vertices[nibble - 1]
        new += 1
        return new - 1

    for code in codes:
        high, low = code >> 4, code & 15
        if high < 15:
            a, b = edges[high]
            if low in (13, 14):
                c = last = (last + (1 if low == 14 else -1)) & 0xFFFFFFFF
            else:
                c = vertices[low] if 0 < low < 13 else corner(low)
            fresh = [] if 0 < low < 13 else [c]
            known = [(c, b), (a, c)]
        else:
            aux = table[low] if low < 14 else _byte(rest)
            if low >= 14 and not aux:
                new = 0
            a = corner(15 if low == 15 else 0)
            b = corner(aux >> 4)
            c = corner(aux & 15)
            fresh = [a]
            fresh += [b] if aux >> 4 in (0, 15) else []
            fresh += [c] if aux & 15 in (0, 15) else []
            known = [(b, a), (c, b), (a, c)]
        edges.extendleft(known)
        vertices.extendleft(fresh)
        made += (a, b, c)
    _require_end(rest)
    return made


def decode_indices(data: bytes, count: int) -> list[int]:
    """Mode 2: ``count`` indices as differences to one of two before.

    Raises:
        ValueError: damaged, or of another version.
    """
    _require(data, 0xD1, 5 + count)
    rest, last, made = iter(data[1:-4]), [0, 0], []
    for _ in range(count):
        number = _varint(rest)
        which = number & 1
        last[which] = (last[which] + _signed(number >> 1)) & 0xFFFFFFFF
        made.append(last[which])
    _require_end(rest)
    return made


def _require(data: bytes, header: int, least: int) -> None:
    if not data or data[0] & 0xF0 != header & 0xF0 or len(data) < least:
        raise ValueError("the data is damaged: it has no such header, or ends early")
    if data[0] != header:
        raise ValueError(f"the data is of version {data[0] & 0x0F}, which is not known")


def _require_end(rest: Iterator[int]) -> None:
    if next(rest, None) is not None:
        raise ValueError("the data is damaged: something is left over")


def _byte(rest: Iterator[int]) -> int:
    value = next(rest, None)
    if value is None:
        raise ValueError("the data is damaged: it ends early")
    return value


def _varint(rest: Iterator[int]) -> int:
    """Seven bits a byte, the lowest first, up to a byte whose highest bit is 0."""
    value = 0
    for shift in range(0, 35, 7):
        byte = _byte(rest)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value & 0xFFFFFFFF


def _signed(zigzag: int) -> int:
    return ~(zigzag >> 1) if zigzag & 1 else zigzag >> 1


def _filtered(elements: Bytes, name: str) -> npt.NDArray[np.generic]:
    """The numbers that filtered bytes [N, stride] stand for."""
    stride = elements.shape[1]
    if name == "NONE":
        return elements
    if name == "OCTAHEDRAL" and stride in (4, 8):
        return _octahedral(elements.view(f"<i{stride // 4}"))
    if name == "QUATERNION" and stride == 8:
        return _quaternions(elements.view("<i2"))
    if name == "EXPONENTIAL" and stride % 4 == 0:
        numbers = elements.view("<i4")
        mantissa = (numbers << 8) >> 8
        return np.ldexp(mantissa.astype("<f4"), numbers >> 24)
    raise ValueError(f"filter {name} of {stride} bytes is not known")


def _octahedral(packed: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
    """Unit vectors, and the fourth number as it is: integers [N, 4] → the same."""
    one = np.maximum(packed[:, 2], 1).astype(np.float32)
    x, y = packed[:, 0] / one, packed[:, 1] / one
    z = 1.0 - np.abs(x) - np.abs(y)
    below = np.minimum(z, 0.0)
    vector = np.stack([x - np.copysign(below, x), y - np.copysign(below, y), z], 1)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    made = packed.copy()
    made[:, :3] = _rounded(vector * np.iinfo(packed.dtype).max)
    return made


def _quaternions(packed: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
    """Quaternions without their largest component: int16 [N, 4] → int16 [N, 4]."""
    one = (packed[:, 3] | 3).astype(np.float64)
    small = packed[:, :3] / one[:, None] / np.sqrt(2.0)
    largest = np.sqrt(np.maximum(0.0, 1.0 - np.square(small).sum(1)))
    numbers = np.concatenate([largest[:, None], small], 1)
    places = ((packed[:, 3:] & 3) + np.arange(4)) % 4
    made = np.empty_like(packed)
    np.put_along_axis(made, places, _rounded(numbers * 32767.0).astype(made.dtype), 1)
    return made


def _rounded(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """To whole numbers, halves away from zero."""
    return np.trunc(values + np.copysign(0.5, values))
