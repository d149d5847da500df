"""Held-out pictures whose poses or lens are wrong, while the training pictures are right."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ball_scene import edit_json, ring_of_cameras, write_frame
from refusals import assert_refused
from tiny_scene import TINY_MODEL

from blender_render.dataset.format import SPLITS
from blender_render.geometry.cameras import multiview_cameras
from blender_render.imaging.images import decode_rgba, encode_png
from blender_render.validate import validate
from sjc_papr import train

OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
SIDEWAYS = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """12 training pictures of balls, 1 for validation, 3 for the test."""
    write_frame(tmp_path / "frame_000")
    return tmp_path / "frame_000"


def arguments(folder: Path, *more: str) -> list[str]:
    short = ("optimize.steps=2", "optimize.patches.size=10", "name=tiny", "log.validate_every=1")
    output = f"output_root={folder.parent / 'runs'}"
    return [f"data.path={folder}", output, *TINY_MODEL, *short, *more]


def poses(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Any]], None]:
    def change_all(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()

    return change_all


def moved(factor: float) -> Callable[[dict[str, Any]], None]:
    """Cameras at so many times the distance."""
    return poses(lambda pose: np.block([[pose[:3, :3], factor * pose[:3, 3:]], [pose[3:]]]))


def lens(factor: float) -> Callable[[dict[str, Any]], None]:
    def lengthen(content: dict[str, Any]) -> None:
        content.pop("camera_angle_x")
        content.update(fl_x=content["fl_x"] * factor, fl_y=content["fl_y"] * factor)

    return lengthen


def mixed_up(content: dict[str, Any]) -> None:
    frames = content["frames"]
    turned = [frame["transform_matrix"] for frame in frames[1:] + frames[:1]]
    for frame, pose in zip(frames, turned, strict=True):
        frame["transform_matrix"] = pose


SMALLER = ("they show the object smaller than lens and poses say",)
WRONG: dict[str, tuple[str, Callable[[dict[str, Any]], None], Sequence[str]]] = {
    "inverted poses": ("test", poses(np.linalg.inv), ("inverted",)),
    "OpenCV poses": ("test", poses(lambda pose: pose @ OPENCV), ("OpenCV",)),
    "the one validation pose inverted": ("val", poses(np.linalg.inv), ("inverted",)),
    "poses of other pictures": ("test", mixed_up, ("of their outlines",)),
    "another axis points up": ("test", poses(lambda p: SIDEWAYS @ p), ("of their outlines",)),
    "half the focal length": ("test", lens(0.5), ("of their outlines",)),
    "half the focal length for validation": ("val", lens(0.5), ("of their outlines",)),
    "1.4 times the focal length": ("test", lens(1.4), SMALLER),
}


@pytest.mark.parametrize("split, change, words", WRONG.values(), ids=WRONG)
def test_the_dry_run_and_validate_name_the_file(
    scene: Path,
    capsys: pytest.CaptureFixture[str],
    split: str,
    change: Callable[[dict[str, Any]], None],
    words: Sequence[str],
) -> None:
    file = scene / f"transforms_{split}.json"
    edit_json(file, change)
    said = assert_refused(
        train.main, [*arguments(scene), "--dry-run"], capsys, f"error: {file}: ", *words
    )
    (problem,) = validate(scene)
    assert said.startswith(f"error: {problem} (")
    assert not (scene.parent / "runs").exists()


def test_training_refuses_it_before_any_work(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_json(scene / "transforms_test.json", poses(np.linalg.inv))
    assert_refused(train.main, arguments(scene), capsys, "transforms_test.json", "inverted")
    assert not (scene.parent / "runs").exists()
    assert train.main([*arguments(scene, "data.check=false"), "--dry-run"]) == 0


@pytest.mark.parametrize(
    "change",
    [lens(2.0), lens(6.0), moved(0.5), moved(0.1)],
    ids=["lens 2", "lens 6", "near", "inside"],
)
def test_an_object_in_the_middle_that_is_too_small(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Such outlines lie on the training pictures' shape, wherever the camera stands."""
    folder = tmp_path / "frame_000"
    middle = (((-0.1, 0.0, 0.0), 0.3, (0.9, 0.2, 0.1)), ((0.2, 0.1, 0.1), 0.2, (0.1, 0.8, 0.2)))
    write_frame(folder, balls=middle, cameras=ring_of_cameras(28))
    assert validate(folder) == []
    edit_json(folder / "transforms_test.json", change)
    (problem,) = validate(folder)
    assert problem.startswith(f"{folder / 'transforms_test.json'}: held-out pictures do not fit")
    assert SMALLER[0] in problem


def test_of_one_json_file_for_all_the_split_is_named(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """nerfstudio's layout: one transforms.json with lists of names."""
    splits = {s: json.loads((scene / f"transforms_{s}.json").read_text()) for s in SPLITS}
    poses(np.linalg.inv)(splits["val"])
    one = {k: v for k, v in splits["test"].items() if k != "frames"}
    for split, content in splits.items():
        one.setdefault("frames", []).extend(content["frames"])
        one[f"{split}_filenames"] = [frame["file_path"] for frame in content["frames"]]
        (scene / f"transforms_{split}.json").unlink()
    (scene / "transforms.json").write_text(json.dumps(one))
    where = f"{scene / 'transforms.json'} (val): "
    (problem,) = validate(scene)
    assert problem.startswith(where)
    assert_refused(train.main, [*arguments(scene), "--dry-run"], capsys, where, "inverted")


def test_inverted_masks_are_refused_however_few_training_views_there_are(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in (scene / "test").glob("00?.png"):
        pixels = decode_rgba(picture.read_bytes(), picture.name).copy()
        pixels[..., 3] = 255 - pixels[..., 3]
        picture.write_bytes(encode_png(pixels))
    six = arguments(scene, "sparse.kind=random", "sparse.count=6", "--dry-run")
    assert_refused(train.main, six, capsys, "transforms_test.json", "masks look inverted")


def test_few_training_views_warn_only(scene: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Six pictures may have been drawn by a model, whose outlines need not agree exactly."""
    edit_json(scene / "transforms_test.json", poses(np.linalg.inv))
    six = arguments(scene, "sparse.kind=random", "sparse.count=6", "--dry-run")
    assert train.main(six) == 0
    assert "transforms_test.json: held-out pictures do not fit" in caplog.text


def test_right_pictures_of_other_lenses_and_from_nearer_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nearer = multiview_cameras(3, 1.7, 1.1, (64, 48), seed=5)
    folder = tmp_path / "frame_000"
    write_frame(folder, cameras=(*nearer, *ring_of_cameras(13)))
    assert validate(folder) == []
    assert train.main([*arguments(folder), "--dry-run"]) == 0
    assert "do not fit" not in caplog.text


def test_training_pictures_that_show_a_part_need_not_hold_what_others_show(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Training cameras so near that their borders cut the balls off; held-out ones see all."""
    near = multiview_cameras(13, 1.0, 0.35, (64, 48), seed=5)
    folder = tmp_path / "frame_000"
    write_frame(folder, cameras=(*ring_of_cameras(3), *near))
    assert validate(folder) == []
    assert train.main([*arguments(folder), "--dry-run"]) == 0
    assert "do not fit" not in caplog.text


def test_official_pictures_fit(shared_data: Path, tmp_path: Path) -> None:
    lego = shared_data / "data" / "nerf_synthetic_lego_200"
    plan = [*arguments(lego), f"output_root={tmp_path}", "--dry-run"]
    assert train.main(plan) == 0
