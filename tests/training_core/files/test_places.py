"""Places where nothing can be written are refused before any work."""

import os
from pathlib import Path

import pytest

from training_core.config import ConfigError
from training_core.files.places import refuse_unusable


def test_what_can_be_made_is_no_fault(tmp_path: Path) -> None:
    refuse_unusable(tmp_path, "output")
    refuse_unusable(tmp_path / "new" / "deeper", "output")
    assert list(tmp_path.iterdir()) == []


def test_a_file_or_a_broken_link_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        for place in (tmp_path / name, tmp_path / name / "deeper"):
            with pytest.raises(ConfigError, match=f"^output: .*{name} is in the way: not a folder"):
                refuse_unusable(place, "output")


def test_a_folder_that_is_not_to_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ConfigError, match=f"^output_root: {tmp_path} cannot be written to$"):
        refuse_unusable(tmp_path / "runs" / "mine", "output_root")
