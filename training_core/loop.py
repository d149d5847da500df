"""The training loop that all trainers share: it logs, validates, saves, stops and continues."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from training_core.checkpoint import Checkpoint, CheckpointStore
from training_core.config import InputError
from training_core.devices import fetch
from training_core.files import atomic
from training_core.metrics_log import (
    Averages,
    MetricsLog,
    Progress,
    last_logged_step,
    progress_bar,
)
from training_core.run_config import LogConfig
from training_core.run_folder import RunFolder
from training_core.step.guards import Diverged
from training_core.step.processes import OneProcess, Processes
from training_core.step.restoring import restore_or_refuse
from training_core.stopping import Stopped, StopSignals

logger = logging.getLogger(__name__)

# Shows images of the training itself, after so many steps.
ImageLogger = Callable[[MetricsLog, int], None]
# Measures and logs quality after so many steps; the best checkpoint is the one where it is highest
# (None: no best is kept).
Validate = Callable[[MetricsLog, int], float | None]
# Restores the checkpoint so that training can be tried again after it diverged, or raises the
# fault again when it should not be.
Recover = Callable[[Diverged, Checkpoint], None]


class Trainer(Protocol):
    """Something that is trained a step at a time."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; fewer than before where a trainer decides on its way to
        end sooner.
        """
        ...

    def step(self, step: int, *, measure: bool = False) -> Mapping[str, Tensor]:
        """Run step number ``step`` (from 0).

        Args:
            measure: this step is logged, so measure also what takes time to find out.

        Returns:
            Scalars to log; the first is the loss that is shown beside the progress.
        """
        ...

    def extra_metrics(self) -> Mapping[str, float]:
        """What is logged besides the values of a step, as it is now."""
        ...

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a checkpoint holds: tensors by name, and a JSON value. All processes
        call it; the main one saves what it gets.
        """
        ...

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        ...


class Validation(NamedTuple):
    """What validates a run and when: after every ``every`` steps (0 = never), and, where asked
    for, before the first step of a new run and after the last.

    ``everywhere``, given the number of steps made, does before it what all processes must do
    together; ``validate`` is called in the main one alone.
    """

    validate: Validate | None = None
    every: int = 0
    at_start: bool = False
    at_end: bool = False
    everywhere: Callable[[int], object] | None = None

    def due(self, done: int, total: int) -> bool:
        """Whether it is time after ``done`` of ``total`` steps."""
        if done == 0:
            return self.at_start and self.every > 0
        return (self.every > 0 and done % self.every == 0) or (self.at_end and done == total)


class TrainingTime(NamedTuple):
    """Time spent training, in seconds, interruptions left out: on the clock, and of this process's
    CPU threads together.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @staticmethod
    def now() -> "TrainingTime":
        """Both clocks; only differences mean something."""
        return TrainingTime(time.monotonic(), time.process_time())

    def since(self, begin: "TrainingTime", earlier: "TrainingTime") -> "TrainingTime":
        """From ``begin`` until this time, plus ``earlier``."""
        return TrainingTime(*(a - b + c for a, b, c in zip(self, begin, earlier, strict=True)))


@dataclass
class TrainingLoop:
    """Trains to the end, from the run's latest checkpoint if it has one, else from that of the run
    to be extended, else from the beginning.

    Args:
        trainer: does the steps.
        description: shown beside the progress.
        validation: a validated state is saved as well, since the best must be what was measured.
        log_images: called as often as validation, or at every checkpoint of a run without it.
        recover: called when a step raises ``Diverged``, with the latest checkpoint; training goes
            on from there. Without it, the fault ends the run.
        extend: folder of the run to go on from, see ``training_core.extension``.
        processes: of a run in several.
        average: log means over the steps since the last line, and the time of a step, instead of
            the values of the logged step. Needs the values of every step, so it waits for the
            device each time.
    """

    trainer: Trainer
    run: RunFolder
    log: LogConfig
    stop: StopSignals
    description: str
    _: KW_ONLY
    validation: Validation = field(default_factory=Validation)
    log_images: ImageLogger | None = None
    recover: Recover | None = None
    extend: Path | None = None
    processes: Processes = field(default_factory=OneProcess)
    average: bool = False

    def __post_init__(self) -> None:
        self._store = CheckpointStore(self.run.checkpoints, keep_last=self.log.keep_last)
        self._averages = Averages() if self.average else None
        self._extends = False

    def fit(self) -> TrainingTime:
        """Train; returns the time it took, that before an interruption included.

        Raises:
            Stopped: a signal came to some process; everything is saved.
            TrainingFault: see the trainer's ``step``.
        """
        step, self._earlier = self._resume()
        # The main process writes from here on; the others must have read by then.
        self.processes.wait()
        self._begin = TrainingTime.now()
        # The state to start over from; of an extended run, so that it can do without the other one.
        keep = self._extends or (step == 0 and self.recover)
        if keep:
            self._save(step, None)
        with contextlib.ExitStack() as opened:
            metrics = bar = None
            if self.processes.is_main:
                metrics = opened.enter_context(MetricsLog(self.run, step))
            if step == 0:
                self._validate(metrics, 0)
            if self.processes.is_main:
                # A bar prints a line when it is made, so only one process may make one.
                made = progress_bar(self.trainer.steps, initial=step, description=self.description)
                bar = opened.enter_context(made)
            while step < self.trainer.steps:
                try:
                    loss = self._step(step, metrics)
                except Diverged as fault:
                    step = self._start_over(fault, step, metrics, bar)
                    continue
                step += 1
                self._save_where_due(step, self._validate(metrics, step))
                if bar:
                    if loss is not None:
                        bar.set_postfix(loss=loss)
                    bar.update()
        return self._elapsed()

    def _resume(self) -> tuple[int, TrainingTime]:
        """Restore the latest checkpoint; returns its step and the time spent until then."""
        saved = self._store.load()
        if saved is not None:
            restore_or_refuse(self.trainer, saved, self._store.folder)
            logger.info("%s: continuing from step %d", self.run.path, saved.step)
        elif self.extend:
            saved = self._start_from(self.extend)
        else:
            logged = last_logged_step(self.run.path / "metrics.jsonl")
            if logged:
                logger.warning(
                    "%s: no checkpoint is left, though its log reaches step %d; training starts "
                    "from the beginning", self.run.path, logged,
                )  # fmt: skip
            return 0, TrainingTime()
        if self._averages:
            self._averages = Averages(saved.state.get("averages"))
        if "elapsed" not in saved.state:  # mnvs.train_vae used to save CPU seconds alone
            return saved.step, TrainingTime(cpu_seconds=saved.state["seconds"])
        return saved.step, TrainingTime(**saved.state["elapsed"])

    def _start_from(self, source: Path) -> Checkpoint:
        """Restore the latest checkpoint of another run; its log lines come along."""
        store = CheckpointStore(source / "checkpoints")
        saved = store.load()
        if saved is None:
            raise InputError(f"{source}: has no checkpoint to go on from")
        if saved.step > self.trainer.steps:
            raise InputError(f"{source}: has made {saved.step} steps, not {self.trainer.steps}")
        restore_or_refuse(self.trainer, saved, store.folder)
        self._extends = True
        lines = source / "metrics.jsonl"
        if self.processes.is_main and lines.is_file():
            atomic.write_bytes(self.run.path / lines.name, lines.read_bytes())
        return saved

    def _step(self, step: int, metrics: MetricsLog | None) -> float | None:
        """Run a step and log it where that is due; returns its loss, None where nobody has waited
        for the device.
        """
        done, started = step + 1, time.monotonic()
        logged = done % self.log.every == 0 or done == self.trainer.steps
        values = self.trainer.step(step, measure=logged)
        if not logged and self._averages is None:
            return None
        numbers = fetch(values)
        loss = next(iter(numbers.values()))
        if self._averages:
            self._averages.add(numbers | {"seconds_per_step": time.monotonic() - started})
        if logged:
            shown = self._averages.take() if self._averages else numbers
            if metrics:
                metrics.log(done, shown | dict(self.trainer.extra_metrics()))
        return loss

    def _validate(self, metrics: MetricsLog | None, done: int) -> float | None:
        """Show images and validate where that is due; returns the quality, None without."""
        images_every = self.validation.every or self.log.checkpoint_every
        if metrics and self.log_images and done and done % images_every == 0:
            self.log_images(metrics, done)
        if not self.validation.validate or not self.validation.due(done, self.trainer.steps):
            return None
        if self.validation.everywhere:
            self.validation.everywhere(done)
        quality = self.validation.validate(metrics, done) if metrics else None
        shared: float | None = self.processes.share(quality)  # type: ignore[assignment]
        return shared

    def _save_where_due(self, done: int, quality: float | None) -> None:
        """Save where that is due, and end here if a signal came to any process."""
        stopping = self.processes.any_process(self.stop.requested)
        last = done == self.trainer.steps
        due = stopping or last or done % self.log.checkpoint_every == 0
        if due or quality is not None:
            self._save(done, quality)
        if stopping:
            self.processes.wait()
            self.stop.raise_if_requested()
            raise Stopped("another process of this run was stopped")

    def _save(self, done: int, quality: float | None) -> None:
        tensors, state = self.trainer.tensors()
        state = state | {"elapsed": self._elapsed()._asdict()}
        if self._averages:
            state["averages"] = self._averages.state()
        if self.processes.is_main:
            self._store.save(done, tensors, state, quality)

    def _start_over(
        self, fault: Diverged, step: int, metrics: MetricsLog | None, bar: Progress | None
    ) -> int:
        """Go back to the latest checkpoint; returns its step."""
        saved = self._store.load() if self.recover else None
        if saved is None or self.recover is None:
            raise fault
        logger.warning("%s; back to step %d", fault, saved.step)
        self.recover(fault, saved)
        if self._averages:
            self._averages = Averages(saved.state["averages"])
        if metrics and bar:
            metrics.rewind(saved.step)
            bar.update(saved.step - step)
        return saved.step

    def _elapsed(self) -> TrainingTime:
        return TrainingTime.now().since(self._begin, self._earlier)
