"""Packing datasets and unpacking them: the same bytes, nothing by halves, the rest refused."""

import contextlib
import logging
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from ball_scene import write_dataset
from refusals import assert_refused

from blender_render import pack, unpack
from blender_render.dataset.readers import read_views
from training_core.files import atomic


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """A folder of two datasets, and something else."""
    for name in ("one", "two"):
        write_dataset(tmp_path / "data" / name)
    (tmp_path / "data/notes.txt").write_text("not a dataset")
    return tmp_path / "data"


def test_a_folder_of_datasets_becomes_one_file_each_and_comes_back(
    datasets: Path, tmp_path: Path
) -> None:
    before = {name: files_of(datasets / name) for name in ("one", "two")}
    seen = read_views(datasets / "one/frame_000", "train")
    assert pack.main([str(datasets), "--remove"]) == 0
    assert sorted(p.name for p in datasets.iterdir()) == ["notes.txt", "one.zip", "two.zip"]
    in_place = read_views(datasets / "one.zip/frame_000", "train")
    assert torch.equal(seen.images, in_place.images)
    back = tmp_path / "back"
    assert unpack.main([str(datasets), "--into", str(back)]) == 0
    assert {name: files_of(back / name) for name in ("one", "two")} == before
    assert sorted(p.name for p in back.iterdir()) == ["one", "two"]


def test_a_second_call_writes_nothing(datasets: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert pack.main([str(datasets / "one")]) == 0
    made = (datasets / "one.zip").stat()
    assert pack.main([str(datasets / "one")]) == 0
    still = (datasets / "one.zip").stat()  # its time of reading may differ: calls read it
    assert (still.st_ino, still.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert "was packed" in caplog.text
    assert unpack.main([str(datasets / "one.zip")]) == 0 and "was unpacked" in caplog.text


def test_of_two_that_unpack_one_archive_the_second_finds_it_done(
    datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = datasets / "one.zip"
    pack.pack_dataset(datasets / "one", archive)
    made_by_another = datasets / "elsewhere"
    assert unpack.unpack_dataset(archive, made_by_another)
    whole = unpack.new_directory

    def late(final: Path) -> contextlib.AbstractContextManager[Path]:
        shutil.copytree(made_by_another, final)  # while this process waits for its turn
        return whole(final)

    monkeypatch.setattr(unpack, "new_directory", late)
    assert not unpack.unpack_dataset(archive, datasets / "two")
    assert files_of(datasets / "two") == files_of(made_by_another)


def test_nothing_is_lost_where_packing_fails(
    datasets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(datasets / "one")

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(atomic.os, "replace", full)
    assert_refused(pack.main, [str(datasets / "one"), "--remove"], capsys, "No space left")
    assert files_of(datasets / "one") == before
    assert not list(datasets.glob("*.zip")) and not list(datasets.glob(".*"))


def test_what_differs_is_refused_and_kept(
    datasets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack.main([str(datasets / "one")]) == 0
    changed = next((datasets / "one").rglob("train/*.png"))
    changed.write_bytes(changed.read_bytes() + b"x")
    differs = f"{changed.name} differs"
    assert_refused(pack.main, [str(datasets / "one"), "--remove"], capsys, differs)
    assert_refused(unpack.main, [str(datasets)], capsys, differs)
    assert changed.is_file()


def test_what_is_no_dataset_is_refused(
    datasets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (datasets / ".one.partial").mkdir()
    (datasets / "two/link").symlink_to("dataset.json")
    for path, reason in (
        (tmp_path / "empty", "nothing in it"),
        (datasets / ".one.partial", "unfinished rendering"),
        (datasets / "two", "a link"),
        (tmp_path / "absent", "no folder"),
    ):
        assert_refused(pack.main, [str(path)], capsys, path.name, reason)
    absent, odd = str(tmp_path / "absent.zip"), tmp_path / "odd.zip"
    assert_refused(unpack.main, [absent], capsys, absent, "does not exist")
    odd.write_bytes(b"no archive")
    assert_refused(unpack.main, [str(odd)], capsys, odd.name, "cannot be read")


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_an_archive_writes_nowhere_else(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "x")
    assert_refused(unpack.main, [str(tmp_path / "bad.zip")], capsys, "leads out of the archive")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.zip"]


def test_backslashes_become_folders(tmp_path: Path) -> None:
    """As older programs of Windows pack; a second call finds that all is there."""
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("frame_000\\train\\000.txt"), "x")
    for _ in range(2):
        assert unpack.main([str(tmp_path / "one.zip")]) == 0
    assert (tmp_path / "one/frame_000/train/000.txt").read_text() == "x"


def test_folders_of_windows_zips_become_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("fr\\", "fr/", "fr\\train\\", "fr\\train\\0.txt"):
            member = zipfile.ZipInfo("x")
            member.filename = member.orig_filename = name
            archive.writestr(member, b"" if name.endswith(("\\", "/")) else b"0")
    assert unpack.unpack_dataset(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out/fr/train/0.txt").read_bytes() == b"0"
