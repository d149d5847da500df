"""A run goes on with the pictures it began with, wherever they lie, and with no others."""

import json
from pathlib import Path

import pytest
from ball_scene import edit_json, write_dataset, write_sixview

from blender_render.dataset.archive import pack
from blender_render.dataset.same_world import fingerprint
from sjc_papr.data.config import SparseConfig
from sjc_papr.data.same_pictures import PICTURES_FILE, refuse_other_pictures
from training_core.config import ConfigError


def moved_camera(frame: Path) -> None:
    def move(content: dict) -> None:
        content["frames"][0]["transform_matrix"][0][3] += 0.01

    edit_json(frame / "transforms_train.json", move)


def other_picture(frame: Path) -> None:
    with next((frame / "test").glob("*.png")).open("ab") as file:
        file.write(b" ")


def missing_view(frame: Path) -> None:
    edit_json(frame / "transforms_train.json", lambda content: content["frames"].pop())


@pytest.mark.parametrize("change", [moved_camera, other_picture, missing_view])
def test_a_frame_that_was_exchanged_is_refused(change, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "balls", 2)
    frames = {name: dataset / name for name in ("frame_000", "frame_001")}
    refuse_other_pictures(tmp_path, {"frame_000": frames["frame_000"]}, SparseConfig())
    refuse_other_pictures(tmp_path, frames, SparseConfig())  # a frame more is none other
    record = (tmp_path / PICTURES_FILE).read_text()
    assert set(json.loads(record)) == {f"{n}/{s}" for n in frames for s in ("train", "test")}
    change(frames["frame_001"])
    with pytest.raises(ConfigError, match=r"frame_001 has other pictures than when .* was begun"):
        refuse_other_pictures(tmp_path, frames, SparseConfig())
    assert (tmp_path / PICTURES_FILE).read_text() == record


def test_packed_and_moved_pictures_are_the_same(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "balls", 1)
    before = fingerprint(dataset / "frame_000", "train")
    pack(dataset, tmp_path / "elsewhere.zip")
    assert fingerprint(tmp_path / "elsewhere.zip" / "frame_000", "train") == before


def test_what_the_run_does_not_read_may_change(tmp_path: Path) -> None:
    """A split that it does not read, damaged even, and what somebody notes in a file."""
    frame = write_dataset(tmp_path / "balls", 1) / "frame_000"
    refuse_other_pictures(tmp_path, {"": frame}, SparseConfig())
    (frame / "transforms_val.json").write_text("{ broken")
    edit_json(frame / "transforms_train.json", lambda content: content.update(note="x"))
    refuse_other_pictures(tmp_path, {"": frame}, SparseConfig())


def test_another_mask_is_another_picture(tmp_path: Path) -> None:
    frame = write_dataset(tmp_path / "balls", 1) / "frame_000"
    refuse_other_pictures(tmp_path, {"": frame}, SparseConfig())
    picture = next((frame / "train").glob("*.png"))
    picture.with_name(f"{picture.stem}_mask.png").write_bytes(picture.read_bytes())
    with pytest.raises(ConfigError, match="other pictures"):
        refuse_other_pictures(tmp_path, {"": frame}, SparseConfig())


def test_another_six_view_video_is_refused(tmp_path: Path) -> None:
    video = write_sixview(tmp_path / "six")
    frames = {"": write_dataset(tmp_path / "balls", 1) / "frame_000"}
    sparse = SparseConfig(kind="sixview", sixview=str(video))
    refuse_other_pictures(tmp_path, frames, sparse)
    edit_json(video / "complete.json", lambda content: content.update(config_hash="another"))
    with pytest.raises(ConfigError, match="six has other pictures"):
        refuse_other_pictures(tmp_path, frames, sparse)
