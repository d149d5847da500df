"""The files of an asset: what it names beside itself counts as part of it."""

import json
from pathlib import Path

import pytest

from blender_render.dataset.format import mark_complete
from blender_render.rendering.asset_files import files_of
from blender_render.rendering.config import RenderConfig
from blender_render.rendering.jobs import Asset, dataset_hash, is_rendered


def write_gltf(folder: Path) -> Path:
    (folder / "textures").mkdir()
    for name in ("scene.bin", "textures/a skin.png"):
        (folder / name).write_bytes(name.encode())
    document = {
        "buffers": [{"uri": "scene.bin"}, {"uri": "data:,inside"}, {"byteLength": 3}],
        "images": [{"uri": "textures/a%20skin.png"}, {"uri": "gone.png"}, {"bufferView": 0}],
    }
    (folder / "scene.gltf").write_text(json.dumps(document))
    return folder / "scene.gltf"


def write_obj(folder: Path) -> Path:
    for name in ("a skin.png", "bump.png"):
        (folder / name).write_bytes(name.encode())
    material = "newmtl a\nmap_Kd a skin.png\nbump -bm 0.2 bump.png\nKd 1 1 1\n"
    (folder / "stuff.mtl").write_text(material)
    (folder / "thing.obj").write_text("mtllib stuff.mtl\nv 0 0 0\nusemtl a\n")
    return folder / "thing.obj"


WRITERS = {
    "gltf": (write_gltf, ["scene.gltf", "scene.bin", "textures/a skin.png"]),
    "obj": (write_obj, ["thing.obj", "stuff.mtl", "a skin.png", "bump.png"]),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_a_file_names_is_part_of_the_asset(kind: str, tmp_path: Path) -> None:
    write, names = WRITERS[kind]
    path = write(tmp_path)
    assert files_of(path) == [tmp_path / name for name in names]
    hashes = {Asset("a", str(path)).sha256()}
    for name in names:
        with (tmp_path / name).open("ab") as file:
            file.write(b" ")
        hashes.add(Asset("a", str(path)).sha256())
    assert len(hashes) == 1 + len(names), "each change is seen"


def test_datasets_made_from_the_hash_of_the_file_alone_stay_complete(tmp_path: Path) -> None:
    asset = Asset("scene", str(write_gltf(tmp_path)))
    config = RenderConfig(assets=[asset.source], output=str(tmp_path / "data"))
    target = tmp_path / "data" / "scene"
    target.mkdir(parents=True)
    mark_complete(target, dataset_hash(config, asset.sha256(alone=True)))
    assert is_rendered(config, asset, asset.sha256())
    mark_complete(target, "of something else")
    assert not is_rendered(config, asset, asset.sha256())


@pytest.mark.parametrize("name", ["a.glb", "a.fbx", "damaged.gltf", "damaged.obj"])
def test_other_files_are_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff{ no JSON")
    assert files_of(path) == [path]
