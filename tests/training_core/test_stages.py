"""Stages: done once, in order, and gone on with where they stopped."""

import json
import os
import signal
from pathlib import Path

import pytest

from training_core.config import InputError
from training_core.stages import Stage, Step, has_begun, is_complete, read_seconds, run_stages
from training_core.stopping import Stopped, StopSignals


class Work:
    """Two stages of two steps that note when they run; ``trouble`` happens in the step named."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.trouble: dict[str, BaseException | signal.Signals] = {}
        self.stages = [Stage(s, "work", (self.step(f"{s}1"), self.step(f"{s}2"))) for s in "ab"]

    def step(self, name: str) -> Step:
        def run() -> None:
            self.done.append(name)
            match self.trouble.pop(name, None):
                case signal.Signals() as number:
                    os.kill(os.getpid(), number)
                case BaseException() as error:
                    raise error

        return Step(name, run)


def test_each_step_runs_once(tmp_path: Path) -> None:
    work = Work()
    assert not has_begun(tmp_path, "a")
    run_stages(tmp_path, work.stages)
    assert work.done == ["a1", "a2", "b1", "b2"]
    assert has_begun(tmp_path, "a") and is_complete(tmp_path, "b")
    assert read_seconds(tmp_path, "a").keys() == {"wall", "cpu"}
    run_stages(tmp_path, work.stages)
    assert len(work.done) == 4


def test_a_failed_step_is_run_again_and_named_in_the_log(tmp_path: Path) -> None:
    work = Work()
    work.trouble["a2"] = InputError("no such fox")
    with pytest.raises(InputError):
        run_stages(tmp_path, work.stages)
    assert "ERROR no such fox" in (tmp_path / "a" / "log.txt").read_text()
    run_stages(tmp_path, work.stages)
    assert work.done == ["a1", "a2", "a2", "b1", "b2"]


@pytest.mark.parametrize("step", ["a1", "a2", "b2"])
def test_a_signal_stops_after_the_step(step: str, tmp_path: Path) -> None:
    work = Work()
    work.trouble[step] = signal.SIGTERM
    with pytest.raises(Stopped, match="SIGTERM"):
        run_stages(tmp_path, work.stages)
    assert work.done[-1] == step
    run_stages(tmp_path, work.stages)
    assert work.done == ["a1", "a2", "b1", "b2"]
    assert is_complete(tmp_path, "b")


def test_a_stage_taken_away_is_made_again_but_not_under_a_later_one(tmp_path: Path) -> None:
    work = Work()
    run_stages(tmp_path, work.stages)
    (tmp_path / "a" / "complete.json").unlink()
    with pytest.raises(InputError, match="b is complete, but a is not"):
        run_stages(tmp_path, work.stages)
    for name in ("complete.json", "steps.json"):
        (tmp_path / "b" / name).unlink()
    run_stages(tmp_path, work.stages)
    # All steps of a were ticked off already; those of b were not any more.
    assert work.done[4:] == ["b1", "b2"]
    assert json.loads((tmp_path / "a" / "complete.json").read_text())["steps"].keys() == {
        "a1",
        "a2",
    }


def test_a_request_after_the_inner_loops_last_look_reaches_the_outer_one() -> None:
    with StopSignals() as outer:
        with StopSignals() as inner:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert inner.requested and not outer.requested
        with pytest.raises(Stopped, match="SIGUSR1"):
            outer.raise_if_requested()
