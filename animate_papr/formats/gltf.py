"""Animated GLB: one set of points or one mesh whose vertices move from frame to frame.

Frame 0 is the mesh itself, every later frame a morph target that holds how far each vertex has
moved, and an animation sets one target's weight to 1 at each frame's time. Between two times
weights change linearly, so vertices go in straight lines, as ``animate_papr.render`` shows them.

Written here with ``json`` and ``struct`` (glTF 2.0 specification, section 4.4 for the container).
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
ATTRIBUTES, INDICES = 34962, 34963
POINTS, TRIANGLES = 0, 4


def to_gltf_axes(positions: np.ndarray) -> np.ndarray:
    """[..., 3] with +Z up to glTF's axes, in which +Y is up: (x, y, z) becomes (x, z, -y)."""
    return np.stack([positions[..., 0], positions[..., 2], -positions[..., 1]], -1)


def linear_rgb(rgb: np.ndarray) -> np.ndarray:
    """sRGB colours uint8 [P, 3] as linear light, uint16: glTF's vertex colours are linear."""
    share = rgb.astype(np.float64) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * 65535.0).astype(np.uint16)


class _Buffer:
    """The binary chunk, and what the JSON chunk says about its parts."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(
        self, values: np.ndarray, kind: str, component: int, target: int | None = None, **more: Any
    ) -> int:
        """Append an array; returns its accessor's number."""
        values = np.ascontiguousarray(values)
        raw = values.tobytes()
        view: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": len(self.data),
            "byteLength": len(raw),
        }
        if target is not None:
            view["target"] = target
        if target == ATTRIBUTES:
            view["byteStride"] = values.strides[0]
        self.views.append(view)
        self.data += raw + b"\0" * (-len(raw) % 4)
        accessor = {
            "bufferView": len(self.views) - 1,
            "componentType": component,
            "count": len(values),
            "type": kind,
            **more,
        }
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_positions(self, values: np.ndarray) -> int:
        """An accessor of [P, 3] with the bounds that the format asks for."""
        values = values.astype("<f4")
        bounds = {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
        return self.add(values, "VEC3", FLOAT, ATTRIBUTES, **bounds)


def encode_glb(
    positions: np.ndarray,
    rgb: np.ndarray,
    *,
    fps: float,
    triangles: np.ndarray | None = None,
    loop: bool = False,
    name: str = "animation",
    frames: Sequence[str] = (),
) -> bytes:
    """The bytes of a GLB file.

    Args:
        positions: [T, P, 3], +Z up; vertex i is the same one in every frame.
        rgb: [P, 3] uint8, sRGB. They are stored as unlit: light is in them already.
        fps: frames per second; frame k is shown at k / fps seconds.
        triangles: [F, 3] vertex numbers, counter-clockwise seen from outside; None = bare points.
        loop: the motion ends in frame 0 again, after one more frame's time.
        name: of the object and its animation.
        frames: names of the T frames, for the list of shape keys; empty = numbers.

    Raises:
        ValueError: shapes or types that do not fit, positions that are not finite, no vertex.
    """
    positions = np.asarray(positions, np.float64)
    _check(positions, rgb, fps, triangles)
    count = len(positions)
    moved = to_gltf_axes(positions)
    buffer = _Buffer()
    # Four channels of 16 bits: rows of attributes must begin at multiples of four bytes.
    colours = np.concatenate([linear_rgb(rgb), np.full((len(rgb), 1), 65535, np.uint16)], 1)
    primitive: dict[str, Any] = {
        "mode": POINTS if triangles is None else TRIANGLES,
        "material": 0,
        "attributes": {
            "POSITION": buffer.add_positions(moved[0]),
            "COLOR_0": buffer.add(colours, "VEC4", UNSIGNED_SHORT, ATTRIBUTES, normalized=True),
        },
    }
    if triangles is not None:
        flat = triangles.astype("<u4").ravel()
        primitive["indices"] = buffer.add(flat, "SCALAR", UNSIGNED_INT, INDICES)
    # The start is rounded as it is stored, so that start plus offset is right to the last bit.
    start = moved[0].astype("<f4").astype(np.float64)
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    content = _one_mesh(mesh, name)
    if count > 1:
        primitive["targets"] = [{"POSITION": buffer.add_positions(m - start)} for m in moved[1:]]
        mesh["weights"] = [0.0] * (count - 1)
        mesh["extras"] = {"targetNames": list(frames or map(str, range(count)))[1:]}
        content["animations"] = [_animation(buffer, count, fps, loop, name)]
    content["accessors"], content["bufferViews"] = buffer.accessors, buffer.views
    content["buffers"] = [{"byteLength": len(buffer.data)}]
    return _container(content, bytes(buffer.data))


def _one_mesh(mesh: dict[str, Any], name: str) -> dict[str, Any]:
    """A scene of one mesh, without its data."""
    return {
        "asset": {"version": "2.0", "generator": "VideoPAPR"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [mesh],
        "materials": [_unlit(name)],
    }


def _check(
    positions: np.ndarray, rgb: np.ndarray, fps: float, triangles: np.ndarray | None
) -> None:
    if positions.ndim != 3 or positions.shape[2] != 3 or 0 in positions.shape:
        raise ValueError(f"expected positions [T, P, 3], got {list(positions.shape)}")
    if rgb.shape != positions.shape[1:] or rgb.dtype != np.uint8:
        raise ValueError(f"expected uint8 colours [P, 3], got {rgb.dtype} {list(rgb.shape)}")
    if not np.isfinite(positions).all():
        raise ValueError("a position is not finite")
    if not fps > 0:
        raise ValueError(f"fps must be positive, not {fps}")
    if triangles is None:
        return
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) == 0:
        raise ValueError(f"expected triangles [F, 3], got {list(triangles.shape)}")
    if triangles.min() < 0 or triangles.max() >= positions.shape[1]:
        raise ValueError("a triangle names a vertex that is not there")


def _unlit(name: str) -> dict[str, Any]:
    # For viewers that do not know the extension: without metal, which would look black.
    plain = {"baseColorFactor": [1.0, 1.0, 1.0, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {
        "name": name,
        "pbrMetallicRoughness": plain,
        "doubleSided": True,
        "extensions": {"KHR_materials_unlit": {}},
    }


def _animation(buffer: _Buffer, count: int, fps: float, loop: bool, name: str) -> dict[str, Any]:
    """Weight of target k is 1 at frame k + 1 and 0 at all others."""
    weights = np.eye(count, dtype="<f4")[:, 1:]
    if loop:
        weights = np.concatenate([weights, weights[:1]])
    times = (np.arange(len(weights)) / fps).astype("<f4")
    bounds: dict[str, Any] = {"min": [float(times[0])], "max": [float(times[-1])]}
    sampler = {
        "input": buffer.add(times, "SCALAR", FLOAT, **bounds),
        "output": buffer.add(weights.ravel(), "SCALAR", FLOAT),
        "interpolation": "LINEAR",
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    return {"name": name, "samplers": [sampler], "channels": [channel]}


def _container(content: dict[str, Any], binary: bytes) -> bytes:
    """Header of 12 bytes, then the chunks, each a multiple of four bytes long."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
