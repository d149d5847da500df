"""Datasets named by path, folder, pattern and list."""

from pathlib import Path

import pytest

from blender_render.dataset.paths import dataset_paths
from training_core.config import ConfigError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, file in (("b", "sample.json"), ("a", "dataset.json"), ("notes", "readme.txt")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / file).write_text("{}")
    (tmp_path / "data" / "c.zip").write_bytes(b"")
    return tmp_path / "data"


def test_a_folder_of_datasets_is_each_of_them(data: Path) -> None:
    assert dataset_paths([data]) == [data / "a", data / "b", data / "c.zip"]


def test_a_dataset_and_what_is_none_stay_as_they_are(data: Path) -> None:
    given = [data / "b", data / "c.zip", data / "notes", data / "nowhere"]
    assert dataset_paths(given) == given


def test_patterns_and_lists(data: Path) -> None:
    (data / "list.txt").write_text(f"{data}/c.zip\n\n  {data}/[ab]  \n")
    assert dataset_paths([f"{data}/*.zip"]) == [data / "c.zip"]
    found = dataset_paths([f"@{data}/list.txt", data / "b"])
    assert found == [data / "c.zip", data / "a", data / "b", data / "b"]


def test_lists_as_windows_writes_them_and_lists_that_name_themselves(data: Path) -> None:
    (data / "list.txt").write_text(f"\ufeff{data}/c.zip\r\n{data}/b\r\n", encoding="utf-8")
    assert dataset_paths([f"@{data}/list.txt"]) == [data / "c.zip", data / "b"]
    (data / "list.txt").write_text(f"@{data}/other.txt\n")
    (data / "other.txt").write_text(f"{data}/b\n@{data}/list.txt\n")
    with pytest.raises(ConfigError, match=r"list\.txt names itself"):
        dataset_paths([f"@{data}/list.txt"])


def test_a_folder_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    odd = tmp_path / "clips[1]"
    (odd / "one").mkdir(parents=True)
    (odd / "one" / "sample.json").write_text("{}")
    assert dataset_paths([odd]) == [odd / "one"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [("@nowhere.txt", "nowhere.txt"), ("nothing/*.zip", "nothing matches")],
)
def test_what_names_nothing_is_refused(entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        dataset_paths([entry], "data.val_paths")
    assert str(caught.value).startswith("data.val_paths: ")
