"""What is said where the published networks are not there can be pasted into a shell."""

import logging
import sys
from pathlib import Path

import pytest

from mnvs.inference import published
from training_core.config import InputError


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs with a Python, which runs; hf is not there yet."""
    programs = tmp_path / "my project" / ".venv" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    return programs


def test_hf_is_called_where_it_is(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert published.hub_command() == "hf"
    (environment / "hf").touch()
    assert published.hub_command() == "'my project/.venv/bin/hf'"
    monkeypatch.chdir(tmp_path / "my project")
    assert published.hub_command() == ".venv/bin/hf"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert published.hub_command() == f"'{environment}/hf'"


def test_the_line_holds_both_commands(
    environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def nothing_in_the_cache(source: str) -> Path:
        raise InputError(f"{source}: not there")

    monkeypatch.setattr(published, "checkpoint_folder", nothing_in_the_cache)
    monkeypatch.chdir(tmp_path / "my project")
    (environment / "hf").touch()
    caplog.set_level(logging.INFO)
    published.PublishedModelConfig().announce()
    (line,) = caplog.messages
    commands = line.partition("(")[2].partition(");")[0].split(" && ")
    assert commands == [
        ".venv/bin/hf download sudo-ai/zero123plus-v1.2",
        ".venv/bin/hf download stabilityai/stable-video-diffusion-img2vid --include "
        '"unet/config.json" "unet/*fp16*"',
    ]
