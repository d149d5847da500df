"""Several actions of one asset, and the first frames of a longer one. No Blender."""

import json
import struct
from pathlib import Path

import pytest

from blender_render import render
from blender_render.rendering.actions import action_names, chosen_actions
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


def test_names_come_from_the_file_once_each(tmp_path: Path) -> None:
    names = ["Rig|Walk", "Rig|Run", "Rig|Walk"]
    assert action_names(write_glb(tmp_path / "a.glb", *names)) == ["Rig|Walk", "Rig|Run"]
    (tmp_path / "a.gltf").write_text(json.dumps({"animations": [{"name": "Fly"}, {}]}))
    assert action_names(tmp_path / "a.gltf") == ["Fly"]
    (tmp_path / "b.glb").write_bytes(b"glTF but short")
    for path, said in ((tmp_path / "b.glb", "cannot be read"), (tmp_path / "c.fbx", "name the")):
        with pytest.raises(ConfigError, match=said):
            action_names(path)


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
