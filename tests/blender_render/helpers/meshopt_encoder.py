"""An encoder of meshopt's three codecs, as plain as the specification: what the decoder undoes."""

import random
from collections.abc import Sequence

import numpy as np


def zigzag(value: int) -> int:
    return ~(value << 1) if value < 0 else value << 1


def varint(value: int) -> bytes:
    made = b""
    while value >= 0x80:
        made += bytes([value & 0x7F | 0x80])
        value >>= 7
    return made + bytes([value])


def group(numbers: Sequence[int], bits: int) -> bytes:
    """Sixteen zigzag numbers in 0, 2, 4 or 8 bits each; larger ones as a byte after the others."""
    if bits in (0, 8):
        return bytes(numbers) if bits else b""
    top = (1 << bits) - 1
    whole = sum(min(n, top) << bits * (15 - i) for i, n in enumerate(numbers))
    return whole.to_bytes(2 * bits, "big") + bytes(n for n in numbers if n >= top)


def encode_attributes(elements: np.ndarray) -> bytes:
    """uint8 [N, stride] → mode 0, the shortest form of every group."""
    count, stride = elements.shape
    baseline = elements[0] if count else np.zeros(stride, np.uint8)
    size = min(8192 // stride // 16 * 16, 256)
    made, before = bytes([0xA0]), baseline
    for start in range(0, count, size):
        block = elements[start : start + size]
        steps = np.diff(np.vstack([before, block]).astype(int), axis=0)
        before = block[-1]
        for byte in range(stride):
            deltas = [zigzag((int(s) + 128) % 256 - 128) for s in steps[:, byte]]
            deltas += [0] * (-len(deltas) % 16)
            groups = [deltas[i : i + 16] for i in range(0, len(deltas), 16)]
            modes, body = [], b""
            for numbers in groups:
                forms = [(0, b"")] if not any(numbers) else []
                forms += [(m, group(numbers, b)) for m, b in ((1, 2), (2, 4), (3, 8))]
                mode, data = min(forms, key=lambda form: len(form[1]))
                modes.append(mode)
                body += data
            modes += [0] * (-len(modes) % 4)
            for i in range(0, len(modes), 4):
                made += bytes([sum(m << 2 * j for j, m in enumerate(modes[i : i + 4]))])
            made += body
    return made + bytes(max(0, 32 - stride)) + baseline.tobytes()


def encode_indices(indices: Sequence[int]) -> bytes:
    """Mode 2, with the nearer of both baselines."""
    made, last = b"", [0, 0]
    for index in indices:
        which = min((0, 1), key=lambda i: abs(index - last[i]))
        made += varint(zigzag(index - last[which]) << 1 | which)
        last[which] = index
    return bytes([0xD1]) + made + bytes(4)


def encode_triangles(triangles: Sequence[Sequence[int]], seed: int) -> tuple[bytes, list[int]]:
    """Mode 1, by any of the ways there are, drawn at random.

    Returns:
        the data, and the indices as the codec turns each triangle.
    """
    draw = random.Random(seed)
    table = bytes([0x00, 0x12, 0x30, *([0] * 13)])
    codes, rest, out = b"", b"", []
    edges: list[tuple[int, int]] = []
    vertices: list[int] = []
    new = last = 0

    def explicit(index: int) -> bytes:
        nonlocal last
        delta, last = index - last, index
        return varint(zigzag(delta))

    for a, b, c in triangles:
        turned = [(a, b, c), (b, c, a), (c, a, b)]
        shared = [(t, edges.index(t[:2])) for t in turned if t[:2] in edges[:15]]
        if shared:
            (a, b, c), edge = draw.choice(shared)
            ways = [15]
            ways += [0] if c == new else []
            ways += [13] if c == last - 1 else []
            ways += [14] if c == last + 1 else []
            ways += [i for i, v in enumerate(vertices[:13]) if v == c and i]
            way = draw.choice(ways)
            codes += bytes([edge << 4 | way])
            rest += explicit(c) if way == 15 else b""
            last = c if way in (13, 14) else last
            new += way == 0
            fresh = [] if 0 < way < 13 else [c]
            known = [(c, b), (a, c)]
        else:
            start, new_before = (a == new), new
            new += start
            nibbles = []
            for vertex in (b, c):
                ways = [15]
                ways += [0] if vertex == new else []
                ways += [i + 1 for i, v in enumerate(vertices[:14]) if v == vertex]
                nibbles.append(draw.choice(ways))
                new += nibbles[-1] == 0
            aux = nibbles[0] << 4 | nibbles[1]
            if start and aux in table[:3] and draw.random() < 0.7:
                codes += bytes([0xF0 | table.index(aux)])
            else:
                # A byte of 0 would start the numbers anew.
                if aux == 0 and new_before:
                    aux, new = 0xFF, new_before + start
                codes += bytes([0xFE if start else 0xFF])
                rest += bytes([aux])
                rest += b"" if start else explicit(a)
                rest += explicit(b) if aux >> 4 == 15 else b""
                rest += explicit(c) if aux & 15 == 15 else b""
            fresh = [
                a,
                *([b] if aux >> 4 in (0, 15) else []),
                *([c] if aux & 15 in (0, 15) else []),
            ]
            known = [(b, a), (c, b), (a, c)]
        edges = [*reversed(known), *edges][:16]
        vertices = [*reversed(fresh), *vertices][:16]
        out += [a, b, c]
    return bytes([0xE1]) + codes + rest + table, out
