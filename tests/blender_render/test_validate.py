"""`validate` passes sound datasets and names each fault of the others in one line."""

import contextlib
import io
import json
import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ball_scene import (
    edit_json,
    inverted,
    moved,
    pack,
    posed,
    ring_of_cameras,
    shifted,
    write_dataset,
    write_frame,
    write_sixview,
)
from PIL import Image
from refusals import assert_refused

from blender_render.geometry.cameras import multiview_cameras
from blender_render.validate import main, validate


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("sound") / "balls")


@pytest.fixture
def dataset(sound: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(sound, tmp_path / "balls"))


def only(problems: list[str], *words: str) -> None:
    """There is exactly one problem, of one line, with these words in it."""
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    for word in words:
        assert word in problems[0]


def test_sound_datasets_pass_in_every_form(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    six = write_sixview(tmp_path / "six")
    large_input = write_sixview(tmp_path / "large_input", input_size=64)
    for path in (
        sound,
        sound / "frame_001",
        pack(sound, tmp_path / "balls.zip"),
        tmp_path / "balls.zip" / "frame_000",
        six,
        large_input,
        pack(six, tmp_path / "six.zip", "six/"),
    ):
        assert validate(path) == [], path
        assert main([str(path)]) == 0
    assert capsys.readouterr().out == ""


def test_official_nerf_synthetic_folder_passes(shared_data: Path) -> None:
    assert validate(shared_data / "data" / "nerf_synthetic_lego_200") == []


def test_object_away_from_the_origin_passes_outside_our_format(tmp_path: Path) -> None:
    offset = (3.0, -1.0, 0.5)
    write_frame(tmp_path, moved(offset), shifted(ring_of_cameras(), offset))
    assert validate(tmp_path) == []


def test_inverted_poses_fail_with_that_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "balls", change=inverted)
    assert main([str(dataset)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{dataset}/frame_000: the poses are inverted")
    assert line.endswith(" (and 1 other: frame_001)")
    six = write_sixview(tmp_path / "six")

    def invert(content: dict) -> None:
        for entry in (content["input"], *content["views"]):
            camera = entry["camera"]
            camera["transform_matrix"] = np.linalg.inv(camera["transform_matrix"]).tolist()

    edit_json(six / "sample.json", invert)
    assert any("inverted" in line for line in validate(six))


def test_no_dataset_is_exit_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("x")
    for path in (tmp_path / "absent", tmp_path / "empty", tmp_path / "text"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert_refused(main, [str(path)], capsys, str(path))
        assert out.getvalue() == ""


TRAIN = "frame_000/transforms_train.json"


def train_frame(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda d: edit_json(d / TRAIN, lambda c: change(c["frames"][4]))


def opaque(path: Path) -> None:
    Image.open(path).convert("RGB").convert("RGBA").save(path)


def cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "truncated": (lambda d: cut(d / "frame_001/train/003.png", 50), ("train/003.png", "cut-off")),
    "missing": (lambda d: (d / "frame_001/val/000.png").unlink(), ("val/000.png", "missing")),
    "opaque": (lambda d: opaque(d / "frame_000/train/001.png"), ("train/001.png", "opaque")),
    "no alpha": (
        lambda d: Image.new("RGB", (64, 48)).save(d / "frame_000/test/001.png"),
        ("test/001.png", "without alpha"),
    ),
    "empty": (
        lambda d: Image.new("RGBA", (64, 48)).save(d / "frame_000/train/001.png"),
        ("train/001.png", "alpha is 0 everywhere"),
    ),
    "json cut off": (lambda d: cut(d / TRAIN, 400), ("transforms_train.json", "not valid JSON")),
    "empty split": (lambda d: edit_json(d / TRAIN, lambda c: c.update(frames=[])), ("is empty",)),
    "no train": (lambda d: (d / TRAIN).unlink(), ("transforms_train.json is missing",)),
    "no marker": (lambda d: (d / "complete.json").unlink(), ("incomplete",)),
    "no key": (
        lambda d: edit_json(d / "dataset.json", lambda c: c.pop("world_to_asset")),
        ("dataset.json", "'world_to_asset' is missing"),
    ),
    "broken info": (lambda d: cut(d / "dataset.json", 9), ("dataset.json", "not valid JSON")),
    "frame gone": (
        lambda d: shutil.rmtree(d / "frame_001"),
        ("dataset.json", "lists 2 frames, but 1"),
    ),
    "nan": (
        train_frame(lambda e: e["transform_matrix"][0].__setitem__(3, math.nan)),
        ("frame 4", "NaN"),
    ),
    "twice": (
        lambda d: edit_json(
            d / "frame_000/transforms_val.json",
            lambda c: c["frames"].append(json.loads((d / TRAIN).read_text())["frames"][0]),
        ),
        ("train/000.png", "again in 'val'"),
    ),
    "depth gone": (
        lambda d: (d / "frame_001/test/002_depth.png").unlink(),
        ("002_depth.png", "missing"),
    ),
    "depth of another view": (
        lambda d: shutil.copy(
            d / "frame_000/test/001_depth.png", d / "frame_000/test/000_depth.png"
        ),
        ("000_depth.png", "opaque pixels have no depth"),
    ),
    "depth everywhere": (
        lambda d: Image.fromarray(np.full((48, 64), 9, np.uint16)).save(
            d / "frame_000/test/000_depth.png"
        ),
        ("000_depth.png", "empty pixels have a depth"),
    ),
    "depth without unit": (
        lambda d: edit_json(
            d / "frame_000/transforms_test.json", lambda c: c.update(depth_scale=0)
        ),
        ("depth_scale",),
    ),
}


@pytest.mark.parametrize("spoil, words", FAULTS.values(), ids=FAULTS)
def test_each_fault_is_named(
    dataset: Path, spoil: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    spoil(dataset)
    problems = validate(dataset)
    assert problems
    assert any(all(word in line for word in words) for line in problems), problems
    assert all("\n" not in line for line in problems)
    assert len(problems) <= 3, "one fault does not set off all checks"


def test_all_faults_are_named_at_once(dataset: Path) -> None:
    for name in ("truncated", "no marker", "opaque", "nan"):
        FAULTS[name][0](dataset)
    text = "\n".join(validate(dataset))
    for word in ("cut-off", "incomplete", "opaque", "NaN"):
        assert word in text


def test_frames_without_motion(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "balls", 3)
    shutil.rmtree(dataset / "frame_002")
    write_frame(dataset / "frame_002", posed(1))
    only(validate(dataset), "frame_002", "no motion")


def test_pictures_of_other_cameras(dataset: Path) -> None:
    def rotate(content: dict) -> None:
        poses = [f["transform_matrix"] for f in content["frames"]]
        for frame, pose in zip(content["frames"], poses[3:] + poses[:3], strict=True):
            frame["transform_matrix"] = pose

    edit_json(dataset / TRAIN, rotate)
    only(validate(dataset), "frame_000", "do not belong to these poses")


def test_cameras_around_another_place(dataset: Path) -> None:
    def carry_away(content: dict) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"][0][3] += 2.0

    for split in ("train", "val", "test"):
        edit_json(dataset / f"frame_000/transforms_{split}.json", carry_away)
    only(validate(dataset), "frame_000", "instead of the origin")


def test_cameras_that_look_away(dataset: Path) -> None:
    def turn_round(content: dict) -> None:
        for frame in content["frames"]:
            for row in frame["transform_matrix"][:3]:
                row[0], row[2] = -row[0], -row[2]

    for split in ("train", "val", "test"):
        edit_json(dataset / f"frame_001/transforms_{split}.json", turn_round)
    only(validate(dataset), "frame_001", "do not look at a common point")


def test_compressed_archives_are_reported(sound: Path, tmp_path: Path) -> None:
    archive = pack(sound, tmp_path / "balls.zip", method=zipfile.ZIP_DEFLATED)
    only(validate(archive), "compressed")


@pytest.mark.parametrize("far, why", [(0.0, "normalise.follow=root"), (6.0, "rig.distance=0")])
def test_a_small_object_is_said_to_be_small_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, far: float, why: str
) -> None:
    """A ball that travels along the cameras' pictures, and one that cameras see from far away."""
    way = (0.0, 0.0, 0.0) if far else (-0.6, 0.0, 0.6)
    for time, x in enumerate(way[:3:2] if far else way):
        cameras = multiview_cameras(16, 2.5 + far, 0.8, (64, 48), seed=3)
        ball = ((x, 0.05 * time, 0.0), 0.15, (0.9, 0.2, 0.1))
        write_frame(tmp_path / f"frame_{time:03d}", [ball], cameras)
    with caplog.at_level("WARNING"):
        assert main([str(tmp_path)]) in (0, 1)
    said = [r.getMessage() for r in caplog.records if "of a picture's side" in r.getMessage()]
    assert len(said) == 1 and why in said[0] and str(tmp_path) in said[0]


def test_one_training_picture_is_said_to_show_no_shape(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cameras = multiview_cameras(16, 2.5, 0.8, (64, 48), seed=3)
    write_frame(tmp_path, [((0.0, 0.0, 0.0), 0.6, (0.9, 0.2, 0.1))], cameras)
    assert validate(tmp_path) == [] and not caplog.records
    file = tmp_path / "transforms_train.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"frames": content["frames"][:1]}))
    assert validate(tmp_path) == []
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and f"{tmp_path}: one training picture" in said[0], said


def test_an_object_that_fills_its_pictures_is_not_called_small(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cameras = multiview_cameras(16, 2.5, 0.8, (64, 48), seed=3)
    write_frame(tmp_path, [((0.0, 0.0, 0.0), 0.6, (0.9, 0.2, 0.1))], cameras)
    with caplog.at_level("WARNING"):
        main([str(tmp_path)])
    assert not [r for r in caplog.records if "of a picture's side" in r.getMessage()]


def test_test_views_that_training_has_seen_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cameras = multiview_cameras(16, 2.5, 0.8, (64, 48), seed=3)
    write_frame(tmp_path, [((0.0, 0.0, 0.0), 0.6, (0.9, 0.2, 0.1))], cameras)
    assert validate(tmp_path) == [] and not caplog.records
    known = json.loads((tmp_path / "transforms_train.json").read_text())["frames"][1]
    file = tmp_path / "transforms_test.json"
    content = json.loads(file.read_text())
    content["frames"][0]["transform_matrix"] = known["transform_matrix"]
    file.write_text(json.dumps(content))
    validate(tmp_path)
    said = [r.getMessage() for r in caplog.records]
    count = len(content["frames"])
    assert any(f"transforms_test.json: 1 of {count} views have the camera" in m for m in said), said
