"""The training loop: log lines, validation, checkpoints, stopped runs, starting over."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training_core.checkpoint import (
    Checkpoint,
    CheckpointStore,
    capture_optimizer,
    restore_optimizer,
)
from training_core.loop import TrainingLoop, TrainingTime, Validation
from training_core.metrics_log import Averages, MetricsLog, Progress, progress_bar
from training_core.run_config import LogConfig
from training_core.run_folder import RunFolder
from training_core.step.guards import Diverged
from training_core.stopping import Stopped, StopSignals

STEPS = 6


class Line:
    """Fits a line with Adam; every step seeds itself."""

    def __init__(self, steps: int = STEPS) -> None:
        torch.manual_seed(0)
        self.steps, self.model, self.measured = steps, nn.Linear(1, 1), list[int]()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        if measure:
            self.measured.append(step)
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        loss = (self.model(x) - 3.0 * x).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss/line": loss.detach(), "number": torch.tensor(float(step))}

    def extra_metrics(self) -> dict[str, float]:
        return {"extra": 5.0}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, optimizer = capture_optimizer(self.optimizer, "optimizer")
        return tensors | dict(self.model.state_dict()), {"optimizer": optimizer}

    def restore(self, saved: Checkpoint) -> None:
        self.model.load_state_dict({k: saved.tensors[k] for k in ("weight", "bias")})
        restore_optimizer(self.optimizer, "optimizer", saved.tensors, saved.state["optimizer"])


class Others:
    """One of two processes; the other one may ask to stop."""

    def __init__(self, is_main: bool, other_stops: bool = False) -> None:
        self.is_main, self.other_stops, self.waits = is_main, other_stops, 0

    def wait(self) -> None:
        self.waits += 1

    def any_process(self, flag: bool) -> bool:
        return flag or self.other_stops

    def share(self, value: object) -> object:
        self.waits += 1
        return value


def open_run(root: Path) -> RunFolder:
    run = RunFolder(root, root.exists())
    for folder in (run.checkpoints, run.tensorboard):
        folder.mkdir(parents=True, exist_ok=True)
    return run


def fit(root: Path, trainer: Line, log: LogConfig | None = None, **more: Any) -> TrainingTime:
    log = log or LogConfig(every=1, checkpoint_every=4)
    with StopSignals() as stop:
        return TrainingLoop(trainer, open_run(root), log, stop, "test", **more).fit()


def lines(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metrics.jsonl").open()]


def saved_steps(root: Path) -> list[int]:
    return sorted(int(path.name[-8:]) for path in (root / "checkpoints").glob("step_*"))


def at(number: int, call: Callable[[], None], trainer: Line) -> Line:
    """Call before step ``number``."""
    step = trainer.step

    def stepped(here: int, *, measure: bool = False) -> dict[str, Tensor]:
        if here == number:
            call()
        return step(here, measure=measure)

    trainer.step = stepped  # type: ignore[method-assign]
    return trainer


def terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_the_values_of_logged_steps_are_logged(tmp_path: Path) -> None:
    trainer = Line()
    fit(tmp_path, trainer, LogConfig(every=4, checkpoint_every=100))
    assert [(line["step"], line["number"], line["extra"]) for line in lines(tmp_path)] == [
        (4, 3.0, 5.0),
        (6, 5.0, 5.0),
    ]
    assert trainer.measured == [3, 5]
    assert list(lines(tmp_path)[0])[2:] == ["loss/line", "number", "extra"]


def test_means_since_the_last_line_are_logged(tmp_path: Path) -> None:
    fit(tmp_path, Line(), LogConfig(every=4, checkpoint_every=100), average=True)
    assert [line["number"] for line in lines(tmp_path)] == [1.5, 4.5]
    assert all(line["seconds_per_step"] > 0 for line in lines(tmp_path))


@pytest.mark.parametrize("average", [False, True])
def test_a_run_stopped_twice_ends_with_the_same_bits(tmp_path: Path, average: bool) -> None:
    log = LogConfig(every=3, checkpoint_every=4)
    fit(tmp_path / "a", Line(), log, average=average)
    for number in (1, 4):
        with pytest.raises(Stopped, match="SIGTERM"):
            fit(tmp_path / "b", at(number, terminate, Line()), log, average=average)
    fit(tmp_path / "b", Line(), log, average=average)
    ends = [CheckpointStore(tmp_path / run / "checkpoints").load() for run in ("a", "b")]
    assert all(end is not None and end.step == STEPS for end in ends)
    for name, tensor in ends[0].tensors.items():
        assert torch.equal(tensor, ends[1].tensors[name]), name
    times = {"seconds", "seconds_per_step"}
    shown = [
        [{k: line[k] for k in line.keys() - times} for line in lines(tmp_path / r)] for r in "ab"
    ]
    assert shown[0] == shown[1]


def test_a_stop_at_the_last_step_leaves_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path, at(STEPS - 1, terminate, Line()))
    trainer = Line()
    fit(tmp_path, trainer)
    assert trainer.measured == [] and saved_steps(tmp_path) == [4, 6]


def test_time_before_an_interruption_counts(tmp_path: Path) -> None:
    first = fit(tmp_path, Line())
    again = fit(tmp_path, Line())
    assert again.seconds >= first.seconds * 0.5 and again.cpu_seconds > 0


def test_cpu_seconds_of_older_checkpoints_are_read(tmp_path: Path) -> None:
    """``mnvs.train_vae`` used to save them alone, under ``seconds``."""
    tensors, state = Line().tensors()
    CheckpointStore(open_run(tmp_path).checkpoints).save(2, tensors, state | {"seconds": 1000.0})
    trainer = Line()
    assert 1000.0 < fit(tmp_path, trainer).cpu_seconds < 1100.0
    assert trainer.measured == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"every": 2}, [2, 4, 6]),
        ({"every": 4, "at_start": True}, [0, 4]),
        ({"every": 4, "at_end": True}, [4, 6]),
        ({"every": 3, "at_end": True}, [3, 6]),
        ({"every": 0, "at_end": True}, [6]),
        ({"every": 0, "at_start": True}, []),
    ],
)
def test_when_a_run_is_validated(
    tmp_path: Path, settings: dict[str, Any], steps: list[int]
) -> None:
    seen: list[int] = []
    validation = Validation(lambda _, step: seen.append(step), **settings)
    fit(tmp_path, Line(), validation=validation)
    assert seen == steps
    assert saved_steps(tmp_path) == [4, 6], "saved without a quality"


def test_the_best_is_kept(tmp_path: Path) -> None:
    qualities = {0: 9.0, 2: 5.0, 4: 3.0, 6: 2.0}

    def validate(log: MetricsLog, step: int) -> float:
        log.log(step, {"quality": qualities[step]})
        return qualities[step]

    log = LogConfig(every=3, checkpoint_every=100, keep_last=1)
    fit(tmp_path, Line(), log, validation=Validation(validate, 2, at_start=True))
    assert saved_steps(tmp_path) == [2, 6]
    best = CheckpointStore(tmp_path / "checkpoints").best()
    assert best is not None and best.name == "step_00000002", "the start is not saved"
    assert [line["step"] for line in lines(tmp_path)] == [0, 2, 3, 4, 6, 6]


@pytest.mark.parametrize(("every", "steps"), [(0, [4]), (3, [3, 6])])
def test_images_are_shown_with_validation_else_with_checkpoints(
    tmp_path: Path, every: int, steps: list[int]
) -> None:
    seen: list[int] = []
    validation = Validation(lambda *_: None, every)
    fit(tmp_path, Line(), validation=validation, log_images=lambda _, step: seen.append(step))
    assert seen == steps


@pytest.mark.parametrize("average", [False, True])
def test_a_diverged_run_starts_over_from_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: bool
) -> None:
    faults, bars = [Diverged("step 5: too much"), Diverged("step 1: too much")], []

    def fail(left: int) -> Callable[[], None]:
        def call() -> None:
            if len(faults) > left:
                raise faults.pop()

        return call

    def kept(*arguments: Any, **settings: Any) -> Any:
        bars.append(progress_bar(*arguments, **settings))
        return bars[-1]

    monkeypatch.setattr("training_core.loop.progress_bar", kept)
    trainer = at(5, fail(0), at(1, fail(1), Line()))
    seen: list[tuple[str, int]] = []

    def recover(fault: Diverged, saved: Checkpoint) -> None:
        seen.append((str(fault), saved.step))
        trainer.restore(saved)

    fit(tmp_path / "a", trainer, recover=recover, average=average)
    assert seen == [("step 1: too much", 0), ("step 5: too much", 4)]
    fit(tmp_path / "b", Line(), average=average)
    assert [line["step"] for line in lines(tmp_path / "a")] == list(range(1, STEPS + 1))
    losses = [[line["loss/line"] for line in lines(tmp_path / run)] for run in "ab"]
    assert losses[0] == losses[1]
    assert getattr(bars[0], "_done", getattr(bars[0], "n", None)) == STEPS


def test_without_recovery_a_diverged_run_ends(tmp_path: Path) -> None:
    def fail() -> None:
        raise Diverged("too much")

    with pytest.raises(Diverged, match="too much"):
        fit(tmp_path, at(5, fail, Line()))
    assert saved_steps(tmp_path) == [4], "and nothing was saved at the start"


@pytest.mark.parametrize("main", [True, False])
def test_one_process_alone_writes_validates_and_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: bool
) -> None:
    made: list[str] = []
    seen: list[int] = []

    def counted(*arguments: Any, **more: Any) -> Progress:
        made.append(more["description"])
        return progress_bar(*arguments, **more)

    monkeypatch.setattr("training_core.loop.progress_bar", counted)
    processes, trainer = Others(main), Line()
    validation = Validation(lambda _, step: seen.append(step), 3)
    fit(tmp_path, trainer, processes=processes, validation=validation, average=True)
    assert made == ["test"] * main and seen == [3, 6] * main
    assert (tmp_path / "metrics.jsonl").exists() == main
    assert saved_steps(tmp_path) == [4, 6] * main
    assert processes.waits == 1 + 2, "after loading, and for each validation"
    assert len(trainer.measured) == STEPS


@pytest.mark.parametrize("main", [True, False])
def test_a_signal_to_another_process_stops_this_one(tmp_path: Path, main: bool) -> None:
    with pytest.raises(Stopped, match="another process"):
        fit(tmp_path, Line(), processes=Others(main, other_stops=True))
    assert saved_steps(tmp_path) == [1] * main


def test_averages_survive_being_saved() -> None:
    straight, saved = Averages(), Averages()
    for averages in (straight, saved):
        averages.add({"a": 1.0, "b": 4.0})
    saved = Averages(json.loads(json.dumps(saved.state())))
    for averages in (straight, saved):
        averages.add({"a": 3.0})
    assert straight.take() == saved.take() == {"a": 2.0, "b": 4.0}
    assert straight.take() == {}
