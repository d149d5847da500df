"""Training that diverges restarts from its last checkpoint, with less SJC than before."""

import itertools
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_novel import WATCH, make_trainer, novel_config
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.config import TrainConfig
from sjc_papr.training.auxiliary import AuxiliaryResult
from sjc_papr.training.config import DensityConfig
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore
from training_core.loop import TrainingLoop
from training_core.run_config import LogConfig
from training_core.run_folder import RunFolder
from training_core.step.guards import Diverged, TrainingFault
from training_core.stopping import Stopped, StopSignals

STEPS = 16
SPIKE_AT = 10


def spiking(trainer: Trainer, allowed: float, when: int = SPIKE_AT) -> Trainer:
    """SJC whose gradient explodes at a step, unless its weight was reduced to ``allowed``."""
    novel, backward = trainer.auxiliary, trainer.auxiliary.backward

    def explode(step: int, **settings: Any) -> AuxiliaryResult:
        result = backward(step, **settings)
        if step == when and novel.scale > allowed:
            for parameter in trainer.model.parameters():
                parameter.grad.mul_(1e6)
        return result

    novel.backward = explode
    return trainer


def start(views: Views, folder: Path, allowed: float = 0.3, seed: int = 0) -> Trainer:
    config = novel_config("sjc", "smooth")
    config.watch, config.balance.kind = WATCH, "gradient_norm"
    # A point more or less on the way: what is gone back to has another number of points.
    density = DensityConfig(grow_events=2, grow_from=0.3, grow_until=0.6, grow_count=5)
    trainer = make_trainer(views, folder, config, seed=seed, steps=STEPS, density=density)
    return spiking(trainer, allowed)


def fitted(trainer: Trainer, folder: Path, **log: int) -> Path:
    """Fit in a run folder; its path."""
    run = RunFolder.open(folder, "sjc_papr", "run", TrainConfig())
    config = LogConfig(**{"every": 1, "checkpoint_every": 7, **log})
    with StopSignals() as stop:
        TrainingLoop(trainer, run, config, stop, "test", recover=trainer.start_over).fit()
    return run.path


def logged_lines(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def assert_same(ours: Trainer, theirs: Trainer) -> None:
    (a, a_state), (b, b_state) = ours.tensors(), theirs.tensors()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    for key in ("balance", "watch", "optimizer", "dead_steps"):
        assert a_state[key] == b_state[key]


def test_going_back_with_less_sjc(
    views: Views, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = start(views, tmp_path)
    run = fitted(trainer, tmp_path)
    lines = logged_lines(run)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    weights = [line["sjc/weight"] for line in lines]
    assert trainer.divergence.restarts == 2 and trainer.auxiliary.scale == 0.25
    for word in ("step 10", "step 7", "0.5 of", "0.25 of"):
        assert word in caplog.text
    # From the checkpoint after step 7 on with a quarter of SJC, the rest as without any fault.
    plain = start(views, tmp_path, allowed=2.0)
    for step in range(STEPS):
        if step == 7:
            for _ in range(2):
                plain.divergence.restart(Diverged("as the other run did"))
            plain.auxiliary.scale = plain.divergence.scale
        expected = plain.step(step, measure=True)
        assert weights[step] == pytest.approx(expected["sjc/weight"].item())
    assert_same(trainer, plain)
    assert lines[-1]["points"] == 70


def test_a_divergence_before_any_checkpoint_leads_back_to_the_start(
    views: Views, tmp_path: Path
) -> None:
    trainer = start(views, tmp_path)
    run = fitted(trainer, tmp_path, checkpoint_every=100)
    assert trainer.divergence.restarts == 2
    assert [line["step"] for line in logged_lines(run)] == list(range(1, STEPS + 1))


def test_there_is_an_end_to_going_back(views: Views, tmp_path: Path) -> None:
    trainer = start(views, tmp_path, allowed=0.0)
    attempts = itertools.count()
    step = trainer.step

    def counted(number: int, *, measure: bool = False) -> dict[str, Tensor]:
        if number == SPIKE_AT:
            next(attempts)
        return step(number, measure=measure)

    trainer.step = counted  # type: ignore[method-assign]
    with pytest.raises(TrainingFault, match="step 10: gradient norm"):
        fitted(trainer, tmp_path)
    assert next(attempts) == 1 + WATCH.restarts


def test_without_sjc_the_same_steps_are_not_tried_again(views: Views, tmp_path: Path) -> None:
    config = novel_config("smooth")
    config.watch = WATCH
    trainer = spiking(make_trainer(views, tmp_path, config, steps=STEPS), allowed=0.0)
    with pytest.raises(TrainingFault, match="step 10: gradient norm"):
        fitted(trainer, tmp_path)
    assert trainer.divergence.restarts == 0


def test_nothing_is_changed_by_the_step_that_diverges(views: Views, tmp_path: Path) -> None:
    trainer = start(views, tmp_path)
    for step in range(SPIKE_AT):
        trainer.step(step)
    before = {k: v.clone() for k, v in trainer.tensors()[0].items()}
    with pytest.raises(Diverged):
        trainer.step(SPIKE_AT)
    assert all(torch.equal(v, before[k]) for k, v in trainer.tensors()[0].items())


def test_nan_leads_back_too(views: Views, tmp_path: Path) -> None:
    trainer = start(views, tmp_path, allowed=2.0)
    backward, left = trainer.auxiliary.backward, [True]

    def bad_once(step: int, **settings: Any) -> AuxiliaryResult:
        result = backward(step, **settings)
        if step == SPIKE_AT and left:
            left.clear()
            trainer.model.points.features.grad.fill_(math.nan)
        return result

    trainer.auxiliary.backward = bad_once
    run = fitted(trainer, tmp_path)
    assert trainer.divergence.restarts == 1 and trainer.auxiliary.scale == 0.5
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())
    assert not list(run.glob("fault*"))


class Killed(BaseException):
    """The process is gone."""


def ending(trainer: Trainer, call: int, end: Callable[[], None]) -> Trainer:
    """Call ``end`` before step call number ``call``, repeated steps counted."""
    step, calls = trainer.step, itertools.count()

    def counted(number: int, *, measure: bool = False) -> dict[str, Tensor]:
        if next(calls) == call:
            end()
        return step(number, measure=measure)

    trainer.step = counted  # type: ignore[method-assign]
    return trainer


def die() -> None:
    raise Killed


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("end", "call"),
    [
        (die, 9),  # before it diverges
        (die, 12),  # between the first return and the next divergence
        (die, 16),  # after the second return
        (stop, 16),
        (die, 20),
    ],
)
def test_a_run_that_diverges_is_killed_and_resumed_ends_as_one_that_was_not(
    views: Views, tmp_path: Path, end: Callable[[], None], call: int
) -> None:
    undisturbed = start(views, tmp_path)
    whole = fitted(undisturbed, tmp_path / "whole")
    first = ending(start(views, tmp_path), call, end)
    with pytest.raises((Killed, Stopped)):
        fitted(first, tmp_path / "halves")
    resumed = start(views, tmp_path, seed=1)
    halves = fitted(resumed, tmp_path / "halves")
    assert_same(resumed, undisturbed)
    assert logged_lines(halves) == logged_lines(whole)
    saved = CheckpointStore(halves / "checkpoints").load()
    assert saved is not None and saved.state["watch"]["restarts"] == 2


def test_a_stop_between_two_divergences_saves_what_is_gone_back_to(
    views: Views, tmp_path: Path
) -> None:
    """Nearer than without the stop, so only here the result is another."""
    with pytest.raises(Stopped):
        fitted(ending(start(views, tmp_path), 12, stop), tmp_path)
    resumed = start(views, tmp_path, seed=1)
    lines = logged_lines(fitted(resumed, tmp_path))
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert resumed.divergence.restarts == 2 and resumed.auxiliary.scale == 0.25
