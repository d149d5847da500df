"""Several actions of one asset, and the first frames of a longer one. No Blender."""

import json
import resource
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import packed_glb
import pytest
from blender_runs import needs_blender

from blender_render import render
from blender_render.rendering.actions import action_names, chosen_actions, dataset_names
from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.config import (
    FramesConfig,
    NormaliseConfig,
    RenderConfig,
    effective,
)
from blender_render.rendering.jobs import dataset_hash, own_config
from training_core.config import ConfigError


def write_glb(path: Path, *names: str) -> Path:
    content = json.dumps({"animations": [{"name": name} for name in names]}).encode()
    content += b" " * (-len(content) % 4)
    chunk = struct.pack("<II", len(content), 0x4E4F534A) + content
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunk)) + chunk)
    return path


def test_every_animation_has_the_name_that_blender_gives_it(tmp_path: Path) -> None:
    names = ["Rig|Walk", "Rig|Run", "Rig|Walk"]
    found = action_names(write_glb(tmp_path / "a.glb", *names))
    assert found == ["Rig|Walk", "Rig|Run", "Rig|Walk.001"]
    (tmp_path / "a.gltf").write_text(json.dumps({"animations": [{"name": "Fly"}, {}, {}]}))
    assert action_names(tmp_path / "a.gltf") == ["Fly", "Anim_1", "Anim_2"]
    long = "歩" * 30
    assert action_names(write_glb(tmp_path / "c.glb", long, long)) == [
        "歩" * 21,
        "歩" * 19 + ".001",
    ]
    (tmp_path / "b.glb").write_bytes(b"glTF but short")
    with pytest.raises(AssetFailure, match="cannot be read"):
        action_names(tmp_path / "b.glb")
    with pytest.raises(ConfigError, match="name the"):
        action_names(tmp_path / "c.fbx")


def write_moving_node(path: Path, names: Sequence[str]) -> Path:
    """A node that every animation moves in the same way."""
    numbers = struct.pack("<8f", 0.0, 1.0, *[0.0] * 3, 1.0, 0.0, 0.0)
    accessors = [
        {
            "bufferView": 0,
            "componentType": 5126,
            "count": 2,
            "type": "SCALAR",
            "min": [0],
            "max": [1],
        },
        {"bufferView": 1, "componentType": 5126, "count": 2, "type": "VEC3"},
    ]
    moves = {
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
        "samplers": [{"input": 0, "output": 1}],
    }
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "node"}],
        "buffers": [{"byteLength": len(numbers)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 8},
            {"buffer": 0, "byteOffset": 8, "byteLength": 24},
        ],
        "accessors": accessors,
        "animations": [moves | ({"name": name} if name else {}) for name in names],
    }
    packed_glb.write_glb(path, document, numbers)
    return path


@pytest.mark.parametrize("mark", [pytest.param("", marks=needs_blender)])
def test_blender_gives_these_names(tmp_path: Path, mark: str) -> None:
    names = ["Walk", "", "Walk", "歩" * 30, "x" * 70, "x" * 70]
    path = write_moving_node(tmp_path / "a.glb", names)
    script = (
        "import bpy, json, sys; bpy.ops.wm.read_factory_settings(use_empty=True); "
        "bpy.ops.import_scene.gltf(filepath=sys.argv[1]); "
        "found = {t.name for o in bpy.data.objects if o.animation_data "
        "for t in o.animation_data.nla_tracks}; sys.stderr.write(json.dumps(sorted(found)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr.splitlines()[-1]) == sorted(action_names(path))


def test_only_the_description_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = write_glb(tmp_path / "a.glb", "Walk")
    with path.open("ab") as file:
        file.truncate(1 << 32)  # sparse: reading it would take 4 GiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert action_names(path) == ["Walk"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000  # KiB


def test_names_of_datasets_differ_in_every_script() -> None:
    assert dataset_names("a", ["歩く", "走る", "Rig|Walk"]) == ["a-歩く", "a-走る", "a-Rig_Walk"]
    assert dataset_names("a", ["x y", "x_y", "x-y", "?", "!"]) == [
        "a-x_y", "a-x_y_2", "a-x_y_3", "a-_", "a-__2",
    ]  # fmt: skip


def test_a_damaged_or_missing_file_leaves_the_others_alone(tmp_path: Path) -> None:
    write_glb(tmp_path / "good.glb", "Walk", "Run")
    (tmp_path / "bad.glb").write_bytes(b"glTF but short")
    sources = [str(tmp_path / name) for name in ("bad.glb", "good.glb", "gone.glb")]
    assets = render.find_assets(RenderConfig(assets=sources, actions=["all"]))
    assert [a.name for a in assets] == ["bad", "good-Walk", "good-Run", "gone"]


def test_at_most_so_many_are_spread_evenly(tmp_path: Path) -> None:
    path = str(write_glb(tmp_path / "a.glb", *"ABCDEFG"))
    assert chosen_actions(path, ["all"], 0) == list("ABCDEFG")
    assert chosen_actions(path, ["all"], 3) == ["B", "D", "F"]
    assert chosen_actions(path, ["0", "B"], 3) == ["0", "B"]


def test_each_action_is_a_dataset_of_its_own(tmp_path: Path) -> None:
    path = write_glb(tmp_path / "fox.glb", "Rig|Walk", "Rig|Run")
    still = write_glb(tmp_path / "rock.glb")
    config = RenderConfig(assets=[str(path), str(still), "builtin:demo"], actions=["all"])
    config.frames = FramesConfig(count=2)
    assets = render.find_assets(config)
    assert [a.name for a in assets] == ["fox-Rig_Walk", "fox-Rig_Run", "rock", "demo"]
    assert own_config(config, assets[1]).action == "Rig|Run"
    hashes = {dataset_hash(own_config(config, asset), "x") for asset in assets[:2]}
    assert len(hashes) == 2
    alone = RenderConfig(assets=[str(path)], action="Rig|Run", frames=config.frames)
    assert dataset_hash(alone, "x") in hashes, "the same dataset, however it was asked for"
    assert "fox-Rig_Run" in render.plan(config)
    with pytest.raises(ValueError, match="not both"):
        RenderConfig(action="a", actions=["b"]).validate()
    with pytest.raises(ValueError, match="actions_at_most"):
        RenderConfig(actions_at_most=-1).validate()


def test_only_a_set_number_of_first_frames_changes_the_hash() -> None:
    plain, first = FramesConfig(count=8), FramesConfig(count=8, first=1)
    assert "first" not in effective(RenderConfig(frames=plain))["frames"]
    assert effective(RenderConfig(frames=first))["frames"]["first"] == 1
    followed = effective(RenderConfig(frames=plain, normalise=NormaliseConfig(follow="root")))
    assert "normalise" not in effective(RenderConfig(frames=plain))
    assert followed["normalise"] == {"follow": "root"}
    with pytest.raises(ValueError, match="first"):
        FramesConfig(count=8, first=-1).validate()
