"""GLB files as gltfpack writes them: every buffer view compressed by meshopt's codecs."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from meshopt_encoder import encode_attributes, encode_indices, encode_triangles

NAME = "EXT_meshopt_compression"
SIZES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
PARTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + size])
    return document, data[28 + size :]


def write_glb(path: Path, document: dict[str, Any], binary: bytes) -> None:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    whole = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
    whole += struct.pack("<I4s", len(text), b"JSON") + text
    path.write_bytes(whole + struct.pack("<I4s", len(binary), b"BIN\0") + binary)


def pack_glb(source: Path, target: Path) -> None:
    """The same asset with every view that an accessor names compressed, indices as triangles where
    they are a mesh's, and a buffer without bytes in place of what was there.
    """
    document, binary = read_glb(source)
    indices = {p["indices"] for m in document["meshes"] for p in m["primitives"]}
    made, plain = b"", 0
    for number, view in enumerate(document["bufferViews"]):
        start = view.get("byteOffset", 0)
        data = binary[start : start + view["byteLength"]]
        mine = [i for i, a in enumerate(document["accessors"]) if a.get("bufferView") == number]
        view["byteOffset"], plain = plain, plain + len(data)
        if not mine:
            view |= {"buffer": 0, "byteOffset": len(made)}
            made += data + bytes(-len(data) % 4)
            continue
        accessor = document["accessors"][mine[0]]
        stride = SIZES[accessor["componentType"]] * PARTS[accessor["type"]]
        mode = "ATTRIBUTES"
        if mine[0] in indices:
            mode = "TRIANGLES"
            numbers = np.frombuffer(data, f"<u{stride}").tolist()
            faces = [tuple(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
            packed, _ = encode_triangles(faces, number)
        elif accessor["type"] == "SCALAR" and accessor["componentType"] == 5125:
            mode, packed = "INDICES", encode_indices(np.frombuffer(data, "<u4").tolist())
        else:
            packed = encode_attributes(np.frombuffer(data, np.uint8).reshape(-1, stride))
        view["buffer"] = 1
        view["extensions"] = {
            NAME: {
                "buffer": 0,
                "byteOffset": len(made),
                "byteLength": len(packed),
                "byteStride": stride,
                "count": len(data) // stride,
                "mode": mode,
            }
        }
        made += packed + bytes(-len(packed) % 4)
    document["buffers"] = [
        {"byteLength": len(made)},
        {"byteLength": plain, "extensions": {NAME: {"fallback": True}}},
    ]
    document["extensionsUsed"] = [*document.get("extensionsUsed", []), NAME]
    document["extensionsRequired"] = [*document.get("extensionsRequired", []), NAME]
    write_glb(target, document, made)
