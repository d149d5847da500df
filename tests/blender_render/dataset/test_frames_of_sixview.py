"""Six-view videos as frame folders: which pictures land where, and what does not fit together."""

from pathlib import Path

import numpy as np
import pytest
from ball_scene import edit_json, write_dataset, write_sixview

from blender_render.dataset.frames_of_sixview import write_frames
from blender_render.dataset.readers import read_dataset_info, read_sixview, read_views
from blender_render.dataset.tracks import read_tracks, write_tracks
from blender_render.validate import validate
from training_core.config import InputError

WORLD = {"frames": [0, 1], "world_to_asset": {"scale": 2.0, "offset": [0.0, 1.0, 0.0]}}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    folder = write_sixview(tmp_path / "video")
    edit_json(folder / "sample.json", lambda info: info.update(WORLD, asset_sha256="a", fps=8))
    return folder


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    folder = write_dataset(tmp_path / "held_out")
    edit_json(folder / "dataset.json", lambda info: info.update(WORLD, asset_sha256="a"))
    return folder


def test_six_views_to_train_on_and_others_to_judge_by(
    video: Path, held_out: Path, tmp_path: Path
) -> None:
    write_frames(video, tmp_path / "made", held_out)
    assert validate(tmp_path / "made") == []
    clip = read_sixview(video)
    for time in range(2):
        frame = f"frame_{time:03d}"
        train = read_views(tmp_path / "made" / frame, "train")
        np.testing.assert_array_equal(train.images * 255.0, clip.views[:, time].float())
        for ours, theirs in zip(train.cameras, clip.cameras, strict=True):
            np.testing.assert_allclose(ours.cam_to_world, theirs.cam_to_world, atol=1e-12)
        test, truth = (
            read_views(folder / frame, "test") for folder in (tmp_path / "made", held_out)
        )
        np.testing.assert_array_equal(test.images, truth.images)
        assert test.depth is not None and len(test) == 3
    info = read_dataset_info(tmp_path / "made")
    assert info["test"] == "held out" and info["world_to_asset"] == WORLD["world_to_asset"]
    assert info["fps"] == 8 and info["resolution"] == [48, 48]


@pytest.mark.parametrize("loop", [True, False])
def test_a_loop_stays_one(video: Path, tmp_path: Path, loop: bool) -> None:
    edit_json(video / "sample.json", lambda info: info.update(loop=loop))
    write_frames(video, tmp_path / "made")
    assert read_dataset_info(tmp_path / "made")["loop"] is loop


def test_true_paths_come_along(video: Path, tmp_path: Path) -> None:
    paths = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    write_tracks(video, paths)
    write_frames(video, tmp_path / "made")
    np.testing.assert_array_equal(read_tracks(tmp_path / "made"), paths)


def test_without_truth_the_input_view_or_the_six_views_are_judged(
    video: Path, tmp_path: Path
) -> None:
    write_frames(video, tmp_path / "moving")
    info, test = (
        read_dataset_info(tmp_path / "moving"),
        read_views(tmp_path / "moving/frame_001", "test"),
    )
    assert info["test"] == "input" and len(test) == 1
    np.testing.assert_array_equal(test.images[0] * 255.0, read_sixview(video).input[1].float())
    # One picture, repeated, says nothing about the second frame.
    (video / "input" / "001.png").write_bytes((video / "input" / "000.png").read_bytes())
    write_frames(video, tmp_path / "still")
    info = read_dataset_info(tmp_path / "still")
    assert info["test"] == "train" and "nothing else is known" in info["test_views"]
    assert len(read_views(tmp_path / "still/frame_001", "test")) == 6


WRONG = {
    "another asset": ({"asset_sha256": "b"}, "another asset"),
    "other moments": ({"frames": [0, 2]}, "other moments"),
    "another world": ({"world_to_asset": {"scale": 2.1, "offset": [0, 1, 0]}}, "another world"),
    "no world": ({"world_to_asset": None}, "'world_to_asset' with 'scale' and 'offset'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_views_of_something_else_are_refused(
    case: str, video: Path, held_out: Path, tmp_path: Path
) -> None:
    change, message = WRONG[case]
    edit_json(held_out / "dataset.json", lambda info: info.update(change))
    with pytest.raises(InputError, match=message):
        write_frames(video, tmp_path / "made", held_out)
    assert not (tmp_path / "made").exists()


def test_an_empty_view_is_named(video: Path, tmp_path: Path) -> None:
    from blender_render.imaging.images import encode_png

    (video / "view_3" / "001.png").write_bytes(encode_png(np.zeros((48, 48, 4), np.uint8)))
    with pytest.raises(InputError, match=r"view_3/001\.png shows no object: 1 of 12"):
        write_frames(video, tmp_path / "made")
