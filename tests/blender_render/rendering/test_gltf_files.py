"""glTF files that Blender's importer cannot read as they are, made readable or refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_glb import NAME, pack_glb, read_glb, write_glb

from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.gltf_files import readable_gltf

PLACES = np.arange(12, dtype=np.float32).reshape(4, 3)
FACES = np.array([0, 1, 2, 2, 1, 3], np.uint16)


def square() -> tuple[dict[str, Any], bytes]:
    """Two triangles, and a picture that is no accessor's."""
    parts = [PLACES.tobytes(), FACES.tobytes(), b"a picture..."]
    starts = [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": sum(map(len, parts))}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": s, "byteLength": len(p)}
            for s, p in zip(starts, parts, strict=True)
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 4},
            {"bufferView": 1, "componentType": 5123, "type": "SCALAR", "count": 6},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "images": [{"bufferView": 2, "mimeType": "image/png"}],
    }
    return document, b"".join(parts)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    write_glb(tmp_path / "plain.glb", *square())
    return tmp_path / "plain.glb"


def view(path: Path, number: int) -> bytes:
    document, binary = read_glb(path)
    found = document["bufferViews"][number]
    assert found["buffer"] == 0 and not found.get("extensions")
    return binary[found["byteOffset"] : found["byteOffset"] + found["byteLength"]]


def test_what_needs_nothing_is_read_as_it_is(plain: Path, tmp_path: Path) -> None:
    assert readable_gltf(plain, tmp_path) == plain
    (tmp_path / "bad.glb").write_bytes(b"glTF, but no more")
    assert readable_gltf(tmp_path / "bad.glb", tmp_path) == tmp_path / "bad.glb"


def test_meshopt_is_undone(plain: Path, tmp_path: Path) -> None:
    pack_glb(plain, tmp_path / "packed.glb")
    made = readable_gltf(tmp_path / "packed.glb", tmp_path)
    assert view(made, 0) == PLACES.tobytes()
    turned = np.frombuffer(view(made, 1), np.uint16).reshape(2, 3)
    for face, expected in zip(turned, FACES.reshape(2, 3), strict=True):
        first = face.tolist().index(expected[0])
        assert np.roll(face, -first).tolist() == expected.tolist()
    assert view(made, 2) == b"a picture..."
    assert NAME not in json.dumps(read_glb(made)[0])


def test_files_beside_it_are_found(plain: Path, tmp_path: Path) -> None:
    """A .gltf with a .bin, of a name with a space, and a picture beside it."""
    pack_glb(plain, tmp_path / "packed.glb")
    document, binary = read_glb(tmp_path / "packed.glb")
    (tmp_path / "its data.bin").write_bytes(binary)
    document["buffers"][0]["uri"] = "its%20data.bin"
    document["images"] = [{"uri": "skin.png"}]
    (tmp_path / "packed.gltf").write_text(json.dumps(document))
    work = tmp_path / "work"
    work.mkdir()
    made = readable_gltf(tmp_path / "packed.gltf", work)
    assert made.parent == work and view(made, 0) == PLACES.tobytes()
    assert read_glb(made)[0]["images"] == [{"uri": str(tmp_path / "skin.png")}]
    (tmp_path / "its data.bin").unlink()
    with pytest.raises(AssetFailure, match=r"import_error: .*its data.bin: No such file"):
        readable_gltf(tmp_path / "packed.gltf", work)


@pytest.mark.parametrize(
    ("first", "reason"), [(0xA1, "unsupported_extension: .*version 1, .*"), (0, "import_error: .*")]
)
def test_what_cannot_be_decoded_names_the_command(
    plain: Path, tmp_path: Path, first: int, reason: str
) -> None:
    pack_glb(plain, tmp_path / "packed.glb")
    document, binary = read_glb(tmp_path / "packed.glb")
    write_glb(tmp_path / "packed.glb", document, bytes([first]) + binary[1:])
    with pytest.raises(AssetFailure, match=f"{reason}; .*@gltf-transform/cli cp IN.glb OUT.glb"):
        readable_gltf(tmp_path / "packed.glb", tmp_path)


def test_ktx2_textures_alone_are_refused_and_others_are_taken(plain: Path, tmp_path: Path) -> None:
    document, binary = square()
    basisu = {"extensions": {"KHR_texture_basisu": {"source": 0}}}
    document |= {"textures": [basisu], "extensionsUsed": ["KHR_texture_basisu"]}
    write_glb(tmp_path / "ktx2.glb", document, binary)
    with pytest.raises(AssetFailure, match=r"KHR_texture_basisu: .* ktxdecompress IN.glb OUT.glb"):
        readable_gltf(tmp_path / "ktx2.glb", tmp_path)
    document["textures"] = [basisu | {"source": 0}]
    document["extensionsRequired"] = ["KHR_texture_basisu"]
    write_glb(tmp_path / "ktx2.glb", document, binary)
    made, _ = read_glb(readable_gltf(tmp_path / "ktx2.glb", tmp_path))
    assert "extensionsRequired" not in made and made["textures"][0]["source"] == 0
    assert view(tmp_path / "unpacked.glb", 0) == PLACES.tobytes()
