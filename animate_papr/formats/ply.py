"""Point clouds and meshes as PLY: binary little endian, xyz as float32, rgb as uint8.

Written here because plyfile is under the GPL and trimesh is a large dependency for one format.
"""

from collections.abc import Sequence

import numpy as np

VERTEX = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
)


FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def encode_ply(
    positions: np.ndarray,
    rgb: np.ndarray,
    comments: Sequence[str] = (),
    triangles: np.ndarray | None = None,
) -> bytes:
    """The bytes of a PLY file.

    Args:
        positions: [P, 3], any float type.
        rgb: [P, 3] uint8.
        comments: lines for the header, each without a line break.
        triangles: [F, 3] vertex numbers; None = a point cloud.

    Raises ValueError on shapes that do not fit or on positions that are not finite.
    """
    check_points(positions, rgb)
    vertices = np.empty(len(positions), VERTEX)
    for column, name in enumerate("xyz"):
        vertices[name] = positions[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        vertices[name] = rgb[:, column]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comments),
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
    ]
    body = vertices.tobytes()
    if triangles is not None:
        faces = np.empty(len(triangles), FACE)
        faces["count"], faces["corners"] = 3, triangles
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        body += faces.tobytes()
    return "\n".join([*header, "end_header"]).encode("ascii") + b"\n" + body


def check_points(positions: np.ndarray, rgb: np.ndarray) -> None:
    """Raise ValueError unless these are finite [P, 3] positions and uint8 colours of as many."""
    if positions.ndim != 2 or positions.shape[1] != 3 or rgb.shape != positions.shape:
        raise ValueError(f"expected two arrays [P, 3], got {positions.shape} and {rgb.shape}")
    if rgb.dtype != np.uint8:
        raise ValueError(f"colours must be uint8, not {rgb.dtype}")
    if not np.isfinite(positions).all():
        raise ValueError("a position is not finite")
