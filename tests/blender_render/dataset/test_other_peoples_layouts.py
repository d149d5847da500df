"""Other people's datasets: which split a picture is in, archives, pictures shared by frames."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ball_scene import edit_json, pack, write_dataset, write_frame
from refusals import assert_refused
from variants import (
    Change,
    merge_files,
)

from blender_render.dataset.archive import Tree
from blender_render.dataset.readers import list_frames, read_views
from blender_render.dataset.transforms import MOST_NAMES, elsewhere
from blender_render.validate import main, validate
from training_core.config import InputError

SPLITS = {
    "one transforms.json": merge_files,
    "no val and no test split": lambda f: [
        (f / f"transforms_{s}.json").unlink() for s in ("val", "test")
    ],
    "empty val and test split": lambda f: [
        edit_json(f / f"transforms_{s}.json", lambda c: c.update(frames=[]))
        for s in ("val", "test")
    ],
}


@pytest.mark.parametrize("change", SPLITS.values(), ids=SPLITS)
def test_what_is_not_split_is_split_by_the_seed(scene: Path, change: Change) -> None:
    change(scene)
    parts = {s: read_views(scene, s).names for s in ("train", "val", "test")}
    together = sum(parts.values(), ())
    assert len(set(together)) == len(together), "no picture is in two splits"
    assert len(parts["val"]) == len(parts["test"]) >= 1
    assert len(parts["train"]) >= 6 * len(parts["test"])
    assert {s: read_views(scene, s).names for s in parts} == parts
    others = [read_views(scene, "test", split_seed=seed).names for seed in range(6)]
    assert len(set(others)) > 1
    assert validate(scene) == []


def test_a_missing_split_is_served_by_the_other(scene: Path) -> None:
    (scene / "transforms_test.json").unlink()
    assert read_views(scene, "test").names == read_views(scene, "val").names == ("val/000",)
    assert len(read_views(scene, "train")) == 12, "nothing is taken from the training split"
    assert validate(scene) == []


def test_lists_of_file_names_are_followed(scene: Path) -> None:
    names = [f"./test/{i:03d}" for i in range(3)]
    rest = [f"./train/{i:03d}" for i in range(12)]
    merge_files(scene, train_filenames=rest, test_filenames=names, val_filenames=[])
    assert read_views(scene, "test").names == ("test/000", "test/001", "test/002")
    assert read_views(scene, "val").names == ("test/000", "test/001", "test/002")
    assert len(read_views(scene, "train")) == 12


def test_a_mac_zip(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "balls")
    archive = pack(folder, tmp_path / "balls.zip", "balls/")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/balls/._dataset.json", b"\x00\x05\x16\x07")
        file.writestr("__MACOSX/._balls", b"\x00\x05\x16\x07")
        file.writestr(".DS_Store", b"x")
    assert list_frames(archive) == ["frame_000", "frame_001"]
    assert len(read_views(archive / "frame_001", "train")) == 12
    assert validate(archive) == []


def repack(folder: Path, archive: Path, rename: Callable[[str], str]) -> Path:
    """A .zip of a folder whose members have other names."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = zipfile.ZipInfo(rename(path.relative_to(folder).as_posix()))
            file.writestr(member, path.read_bytes())
    return archive


ODD_NAMES: dict[str, Callable[[str], str]] = {
    "backslashes": lambda name: name.replace("/", "\\"),
    "backslashes in a folder": lambda name: "balls\\" + name.replace("/", "\\"),
    "absolute": lambda name: f"/home/somebody/balls/{name}",
    "of a drive": lambda name: f"C:\\data\\balls\\{name}",
    "three folders down": lambda name: f"export/2024/balls/{name}",
    "below the folder it was packed in": lambda name: f"./{name}",
}


@pytest.mark.parametrize("rename", ODD_NAMES.values(), ids=ODD_NAMES)
def test_a_zip_with_other_names(tmp_path: Path, rename: Callable[[str], str]) -> None:
    folder = write_dataset(tmp_path / "balls")
    archive = repack(folder, tmp_path / "odd.zip", rename)
    assert list_frames(archive) == ["frame_000", "frame_001"]
    found = read_views(archive / "frame_001", "train")
    assert torch.equal(found.images, read_views(folder / "frame_001", "train").images)
    assert validate(archive) == []


def test_a_zip_whose_names_lead_out_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "balls")
    for odd in ("../{}", "a\\..\\..\\{}"):
        archive = repack(folder, tmp_path / "odd.zip", odd.format)
        assert_refused(main, [str(archive)], capsys, str(archive), "leads out of the archive")


def test_a_zip_in_which_two_names_are_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "odd.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("balls/a.png", b"x")
        file.writestr("balls\\a.png", b"y")
    assert_refused(main, [str(archive)], capsys, str(archive), "are one file")


def test_a_zip_with_something_beside_the_dataset_says_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(tmp_path / "balls")
    archive = repack(folder, tmp_path / "odd.zip", lambda name: f"data/2024/balls/{name}")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("README.txt", "balls")
    inside = archive / "data/2024/balls"
    assert_refused(main, [str(archive)], capsys, f"did you mean {inside}?")
    assert list_frames(inside) == ["frame_000", "frame_001"]


def test_pictures_shared_by_the_frames_of_a_dataset(tmp_path: Path) -> None:
    """Frame folders may name pictures of their dataset, not of what lies above it."""
    folder = write_dataset(tmp_path / "balls")
    wanted = read_views(folder / "frame_000", "train")
    shutil.move(folder / "frame_000/train", folder / "images")

    def move(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            frame["file_path"] = "../images/" + frame["file_path"].rpartition("/")[2]

    edit_json(folder / "frame_000/transforms_train.json", move)
    archive = pack(folder, tmp_path / "balls.zip")
    for path in (folder, archive):
        found = read_views(path / "frame_000", "train")
        assert torch.equal(found.images, wanted.images)
        assert found.names[0] == "../images/000"


def test_the_hint_where_a_dataset_lies_is_short_work(tmp_path: Path) -> None:
    """Of a folder with many names it looks at the first ones only, and at none that no file of a
    dataset can have."""
    for number in range(40):
        (tmp_path / "all" / f"{number:03d}").mkdir(parents=True)
        for picture in range(50):
            (tmp_path / "all" / f"{number:03d}" / f"{picture:03d}.jpg").touch()
    (tmp_path / "all" / "Icon\r").touch()
    write_frame(tmp_path / "all" / "zzz")
    with pytest.raises(InputError, match=r"file is missing.*did you mean .*all/zzz\?"):
        read_views(tmp_path / "all", "train")
    looked: list[str] = []

    class Counting(Tree):
        def sub(self, rel: str) -> Tree:
            looked.append(rel)
            return Counting(self.path / rel, self.path / rel)

    (tmp_path / "all" / "zzz").rename(tmp_path / "elsewhere")
    assert elsewhere(Counting(tmp_path / "all", tmp_path / "all")) == ""
    assert len(looked) <= MOST_NAMES + 1
