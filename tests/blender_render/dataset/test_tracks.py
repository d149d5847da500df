"""Paths of surface points on disk."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from blender_render.dataset.tracks import TRACKS_FILE, read_tracks, write_tracks
from training_core.config import InputError

PATHS = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)


def test_paths_come_back_from_a_folder_and_an_archive(tmp_path: Path) -> None:
    write_tracks(tmp_path, PATHS)
    np.testing.assert_array_equal(read_tracks(tmp_path), PATHS)
    np.testing.assert_array_equal(np.load(tmp_path / TRACKS_FILE), PATHS)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        packed.write(tmp_path / TRACKS_FILE, TRACKS_FILE)
    np.testing.assert_array_equal(read_tracks(tmp_path / "set.zip"), PATHS)


def test_a_dataset_without_them_has_none(tmp_path: Path) -> None:
    assert read_tracks(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"nothing of ours"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TRACKS_FILE).write_bytes(content)
    with pytest.raises(InputError, match=TRACKS_FILE):
        read_tracks(tmp_path)


@pytest.mark.parametrize(
    "wrong", [PATHS[0], PATHS[..., :2], PATHS[:, :0], PATHS * np.nan, PATHS.astype(np.int32)]
)
def test_other_arrays_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    np.save(tmp_path / TRACKS_FILE, wrong)
    with pytest.raises(InputError, match="finite numbers"):
        read_tracks(tmp_path)
