"""Archives that would inflate without limit are refused by what their directory says."""

import time
import zipfile
from pathlib import Path

import pytest

from blender_render.dataset.archive import open_tree
from training_core.config import InputError
from training_core.files import zip_members
from training_core.files.zip_members import refuse_oversized


def archive(path: Path, members: dict[str, bytes]) -> zipfile.ZipFile:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return zipfile.ZipFile(path)


def test_a_member_that_would_inflate_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_members, "LARGEST_MEMBER", 1_000_000)
    with archive(tmp_path / "a.zip", {"a.png": bytes(1_000_000)}) as opened:
        refuse_oversized(opened, tmp_path / "a.zip")
    with archive(tmp_path / "b.zip", {"a.png": b"x", "b.png": bytes(2_000_000)}) as opened:
        assert (tmp_path / "b.zip").stat().st_size < 5_000
        with pytest.raises(InputError, match=r"b\.zip: b\.png would inflate to 2 MB; files of at"):
            refuse_oversized(opened, tmp_path / "b.zip")


def test_a_member_never_inflates_beyond_what_the_directory_says(tmp_path: Path) -> None:
    """What the refusal relies on."""
    archive(tmp_path / "a.zip", {"a": bytes(1_000_000)}).close()
    data = (tmp_path / "a.zip").read_bytes()
    small = data.replace((1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(small)
    with zipfile.ZipFile(tmp_path / "a.zip") as opened, pytest.raises(zipfile.BadZipFile):
        assert len(opened.read("a")) <= 1000


def test_a_dataset_in_such_an_archive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_members, "LARGEST_MEMBER", 1_000_000)
    archive(tmp_path / "a.zip", {"train/000.png": bytes(2_000_000)}).close()
    with pytest.raises(InputError, match=r"a\.zip: train/000\.png would inflate"):
        open_tree(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a" * 2000, "a/" * 5000 + "a"], ids=["long", "deep"])
def test_absurd_names(tmp_path: Path, name: str) -> None:
    with archive(tmp_path / "a.zip", {name: b"x"}) as opened:
        begin = time.monotonic()
        with pytest.raises(InputError, match=r"a\.zip: the name of a member is too long: a"):
            refuse_oversized(opened, tmp_path / "a.zip")
        assert time.monotonic() - begin < 1.0
