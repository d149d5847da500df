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
    encoder, out = TriangleEncoder(seed), []
    for triangle in triangles:
        out += encoder.add(*triangle)
    return bytes([0xE1]) + encoder.codes + encoder.rest + encoder.TABLE, out


class TriangleEncoder:
    """Codes of triangles, and the bytes that some of the codes need."""

    TABLE = bytes([0x00, 0x12, 0x30, *([0] * 13)])

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.codes = self.rest = b""
        self.edges: list[tuple[int, int]] = []  # newest first
        self.vertices: list[int] = []
        self.new = self.last = 0

    def add(self, a: int, b: int, c: int) -> tuple[int, int, int]:
        """Encode a triangle; its indices as the codec turns it."""
        turned = [(a, b, c), (b, c, a), (c, a, b)]
        shared = [(t, self.edges.index(t[:2])) for t in turned if t[:2] in self.edges[:15]]
        if shared:
            (a, b, c), edge = self.draw.choice(shared)
            fresh, known = self.at_edge(c, edge), [(c, b), (a, c)]
        else:
            fresh, known = self.alone(a, b, c), [(b, a), (c, b), (a, c)]
        self.edges = [*reversed(known), *self.edges][:16]
        self.vertices = [*reversed(fresh), *self.vertices][:16]
        return a, b, c

    def at_edge(self, c: int, edge: int) -> list[int]:
        """The third vertex at a known edge; what is new to the known vertices."""
        ways = [15]
        ways += [0] if c == self.new else []
        ways += [13] if c == self.last - 1 else []
        ways += [14] if c == self.last + 1 else []
        ways += [i for i, v in enumerate(self.vertices[:13]) if v == c and i]
        way = self.draw.choice(ways)
        self.codes += bytes([edge << 4 | way])
        if way == 15:
            self.explicit(c)
        self.last = c if way in (13, 14) else self.last
        self.new += way == 0
        return [] if 0 < way < 13 else [c]

    def alone(self, a: int, b: int, c: int) -> list[int]:
        """Three vertices at no known edge; what is new to the known vertices."""
        start, new_before = (a == self.new), self.new
        self.new += start
        first, second = self.nibble(b), self.nibble(c)
        aux = first << 4 | second
        if start and aux in self.TABLE[:3] and self.draw.random() < 0.7:
            self.codes += bytes([0xF0 | self.TABLE.index(aux)])
        else:
            # A byte of 0 would start the numbers anew.
            if aux == 0 and new_before:
                aux, self.new = 0xFF, new_before + start
            self.codes += bytes([0xFE if start else 0xFF])
            self.rest += bytes([aux])
            given = (not start, aux >> 4 == 15, aux & 15 == 15)
            for index, needed in zip((a, b, c), given, strict=True):
                if needed:
                    self.explicit(index)
        return [a] + [b] * (aux >> 4 in (0, 15)) + [c] * (aux & 15 in (0, 15))

    def nibble(self, vertex: int) -> int:
        """Half a byte that says which vertex: the next new one, a known one, or one written out."""
        ways = [15]
        ways += [0] if vertex == self.new else []
        ways += [i + 1 for i, v in enumerate(self.vertices[:14]) if v == vertex]
        way = self.draw.choice(ways)
        self.new += way == 0
        return way

    def explicit(self, index: int) -> None:
        """Write an index out, as its distance from the one before."""
        self.rest += varint(zigzag(index - self.last))
        self.last = index
