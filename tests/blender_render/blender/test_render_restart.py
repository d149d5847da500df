"""Killed, stopped and repeated starts, and what determines a picture's bytes."""

import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from blender_runs import files_of, needs_blender, render, start_render

from blender_render.dataset.format import is_complete
from blender_render.rendering.asset_failures import read_failures

pytestmark = [*needs_blender, pytest.mark.slow]

ARGUMENTS = (
    "--config",
    "configs/blender_render/smoke.yaml",
    "assets=[builtin:demo]",
    "rig.resolution=40",
)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a start that nobody disturbed, made by one thread."""
    output = tmp_path_factory.mktemp("unbroken")
    code, said = render(*ARGUMENTS, f"output={output}", "engine.threads=1", log=output / "log")
    assert code == 0, said
    return output


def frame_started(frame: int) -> Callable[[Path], bool]:
    return lambda work: any((work / f"frame_{frame:03d}").rglob("*.png"))


def frame_done(frame: int) -> Callable[[Path], bool]:
    return lambda work: (work / ".done" / str(frame)).exists()


MOMENTS = {
    "while importing": lambda work: (work / "job.json").exists(),
    "in the first frame": frame_started(0),
    "after the first frame": frame_done(0),
    "in the last frame": frame_started(1),
}


def interrupt(output: Path, moment: str, number: signal.Signals) -> int:
    """Start, send a signal at a moment, return the exit code."""
    process = start_render(*ARGUMENTS, f"output={output}", log=output / "log")
    deadline = time.monotonic() + 60
    while not MOMENTS[moment](output / ".demo.partial"):
        assert process.poll() is None, (output / "log").read_text()
        assert time.monotonic() < deadline, f"never came to be {moment}"
        time.sleep(0.005)
    process.send_signal(number)
    code = process.wait(timeout=30)
    assert not (output / "demo").exists()
    return code


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_started_again_gives_the_same_bytes(
    moment: str, unbroken: Path, tmp_path: Path
) -> None:
    assert interrupt(tmp_path, moment, signal.SIGKILL) == -signal.SIGKILL
    code, said = render(*ARGUMENTS, f"output={tmp_path}", "engine.threads=2", log=tmp_path / "log")
    assert code == 0, said
    kept = {"after the first frame": "1 frames kept", "in the last frame": "1 frames kept"}
    assert kept.get(moment, "2 frames of 5 views on CPU\n") in said
    assert files_of(tmp_path / "demo") == files_of(unbroken / "demo")
    assert not (tmp_path / ".demo.partial").exists()


def test_a_stop_signal_ends_with_75_and_the_same_command_continues(
    unbroken: Path, tmp_path: Path
) -> None:
    assert interrupt(tmp_path, "after the first frame", signal.SIGTERM) == 75
    assert not (tmp_path / "failures.jsonl").exists()
    code, said = render(*ARGUMENTS, f"output={tmp_path}", log=tmp_path / "log")
    assert code == 0, said
    assert files_of(tmp_path / "demo") == files_of(unbroken / "demo")


def test_a_renderer_that_dies_is_a_recorded_failure(tmp_path: Path) -> None:
    process = start_render(*ARGUMENTS, f"output={tmp_path}", log=tmp_path / "log")
    while not MOMENTS["in the first frame"](tmp_path / ".demo.partial"):
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.01)
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    children = [pid for task in tasks for pid in (task / "children").read_text().split()]
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    assert process.wait(timeout=30) == 4
    assert [f["reason"] for f in read_failures(tmp_path)] == ["crashed"]


def test_other_settings_do_not_continue_a_killed_start(tmp_path: Path) -> None:
    interrupt(tmp_path, "after the first frame", signal.SIGKILL)
    code, said = render(*ARGUMENTS, f"output={tmp_path}", "engine.samples=2", log=tmp_path / "log")
    assert code == 0 and "kept" not in said


def test_second_start_skips_what_is_complete_and_redoes_what_changed(unbroken: Path) -> None:
    target = unbroken / "demo"
    before = {p: p.stat().st_mtime_ns for p in target.rglob("*")}
    code, said = render(*ARGUMENTS, f"output={unbroken}", log=unbroken / "log")
    assert code == 0 and "already complete" in said
    assert {p: p.stat().st_mtime_ns for p in target.rglob("*")} == before
    assert is_complete(target)
    (target / "complete.json").unlink()
    code, said = render(*ARGUMENTS, f"output={unbroken}", log=unbroken / "log")
    assert code == 4 and "in_the_way" in said and "not a complete dataset" in said
    assert [f["reason"] for f in read_failures(unbroken)] == ["in_the_way"]


def test_archive_holds_the_same_files(unbroken: Path, tmp_path: Path) -> None:
    code, said = render(*ARGUMENTS, f"output={tmp_path}", "archive=zip", log=tmp_path / "log")
    assert code == 0, said
    with zipfile.ZipFile(tmp_path / "demo.zip") as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    plain = files_of(unbroken / "demo")
    assert {k: v for k, v in packed.items() if k != "complete.json"} == {
        k: v for k, v in plain.items() if k != "complete.json"
    }
    assert is_complete(tmp_path / "demo.zip")
    code, said = render(*ARGUMENTS, f"output={tmp_path}", "archive=zip", log=tmp_path / "log")
    assert code == 0 and "already complete" in said
