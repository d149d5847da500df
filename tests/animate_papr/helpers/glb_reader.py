"""A GLB reader that goes by the specification alone, for meshes with morph targets."""

import json
import struct
from dataclasses import dataclass

import numpy as np

TYPES = {5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


@dataclass
class Glb:
    """`content` is the JSON chunk; arrays are read by accessor."""

    content: dict
    binary: bytes

    def array(self, number: int) -> np.ndarray:
        accessor = self.content["accessors"][number]
        view = self.content["bufferViews"][accessor["bufferView"]]
        kind = np.dtype(TYPES[accessor["componentType"]])
        width = WIDTHS[accessor["type"]]
        assert view["byteOffset"] % kind.itemsize == 0
        assert view.get("byteStride", 4) % 4 == 0
        assert view["byteLength"] == accessor["count"] * width * kind.itemsize
        values = np.frombuffer(
            self.binary, kind, accessor["count"] * width, view["byteOffset"]
        ).reshape(-1, width)
        for bound, found in (("min", values.min(0)), ("max", values.max(0))):
            assert bound not in accessor or accessor[bound] == found.tolist()
        return values

    @property
    def primitive(self) -> dict:
        return self.content["meshes"][0]["primitives"][0]

    def at(self, seconds: float) -> np.ndarray:
        """Vertices [P, 3] at a moment of the animation, in glTF's axes."""
        start = self.array(self.primitive["attributes"]["POSITION"]).astype(float)
        sampler = self.content["animations"][0]["samplers"][0]
        assert sampler["interpolation"] == "LINEAR"
        times = self.array(sampler["input"])[:, 0]
        weights = self.array(sampler["output"]).reshape(len(times), -1)
        for k, target in enumerate(self.primitive["targets"]):
            start += np.interp(seconds, times, weights[:, k]) * self.array(target["POSITION"])
        return start


def read_glb(data: bytes) -> Glb:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    content = json.loads(data[20 : 20 + size])
    rest, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0" and rest == content["buffers"][0]["byteLength"] and rest % 4 == 0
    return Glb(content, data[28 + size :])
