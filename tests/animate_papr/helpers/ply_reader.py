"""A PLY reader that goes by the header alone."""

import numpy as np

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
