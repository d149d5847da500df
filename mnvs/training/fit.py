"""The loop around the training step: logging, validation, checkpoints, stopping and continuing."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from mnvs.config import LogConfig
from mnvs.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore
from training_core.devices import peak_memory_bytes
from training_core.metrics_log import MetricsLog, Progress, progress
from training_core.run_folder import RunFolder
from training_core.stopping import Stopped, StopSignals

Validate = Callable[[MetricsLog, int], float]


class TrainingTime(NamedTuple):
    """Time of a run, restarts included: on the clock, and of this process on all its threads."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @staticmethod
    def now() -> "TrainingTime":
        return TrainingTime(time.monotonic(), time.process_time())

    def since(self, begin: "TrainingTime", earlier: "TrainingTime") -> "TrainingTime":
        """What lies between ``begin`` and here, plus ``earlier``."""
        return TrainingTime(*(a - b + c for a, b, c in zip(self, begin, earlier, strict=True)))


class Fit:
    """Trains to the end, from the run's latest checkpoint if it has one.

    Every process of a run does the same; the first one alone writes, validates and shows progress.

    Args:
        validate: called before the first step and every ``validate_every`` steps (0 = never);
            returns the quality by which the best checkpoint is kept.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder,
        log: LogConfig,
        stop: StopSignals,
        *,
        validate: Validate | None = None,
        validate_every: int = 0,
    ) -> None:
        self.trainer, self.run, self.log, self.stop = trainer, run, log, stop
        self.accelerator = trainer.accelerator
        self.validate, self.validate_every = validate, validate_every
        self.store = CheckpointStore(run.checkpoints, keep_last=log.keep_last)
        self.first, self.earlier, self.averages = 0, TrainingTime(), Averages()

    def __call__(self, description: str) -> TrainingTime:
        """Train; returns the time it took.

        Raises:
            Stopped: a signal came to some process; everything is saved.
            TrainingFault: see ``Trainer.step``.
        """
        self._continue()
        self._begin = TrainingTime.now()
        total, main = self.trainer.config.steps, self.accelerator.is_main_process
        with contextlib.ExitStack() as opened:
            out = opened.enter_context(MetricsLog(self.run, self.first)) if main else None
            if self.first == 0:
                self._look(out, 0)
            show = self._progress(opened, description) if main else None
            for step in range(self.first, total):
                loss = self._step(step, out)
                quality = self._look(out, step + 1)
                self._save(step + 1, quality)
                if show:
                    show.set_postfix(loss=loss)
                    show.update()
        return self._elapsed()

    def _progress(self, opened: contextlib.ExitStack, description: str) -> Progress:
        """A bar shows itself when it is made, so only one process may make one."""
        total = self.trainer.config.steps
        return opened.enter_context(progress(total, initial=self.first, description=description))

    def _continue(self) -> None:
        saved = self.store.load()
        if saved is not None:
            self.trainer.restore(saved)
            self.first, self.earlier = saved.step, TrainingTime(**saved.state["elapsed"])
            self.averages = Averages(saved.state["averages"])
        # The first process writes below; the others must have read by then.
        self.accelerator.wait_for_everyone()

    def _step(self, step: int, out: MetricsLog | None) -> float:
        started = time.monotonic()
        values = self.trainer.step(step)
        loss = float(values["loss/total"])  # waits for the device, so that the time is the step's
        self.averages.add(values | {"seconds_per_step": time.monotonic() - started})
        if (step + 1) % self.log.every == 0 or step + 1 == self.trainer.config.steps:
            means = self.averages.take()
            if out:
                memory = peak_memory_bytes(self.accelerator.device)
                out.log(step + 1, means | {"peak_memory_bytes": memory})
        return loss

    def _look(self, out: MetricsLog | None, done: int) -> float | None:
        """Validate where it is due; the quality."""
        if not self.validate or not self.validate_every or done % self.validate_every:
            return None
        quality = self.validate(out, done) if out else None
        self.accelerator.wait_for_everyone()
        return quality

    def _save(self, done: int, quality: float | None) -> None:
        """Save where it is due, and end here if a signal came to any process."""
        if self.stop.requested:
            self.accelerator.set_trigger()
        stopping = self.accelerator.check_trigger()
        last = done == self.trainer.config.steps
        due = stopping or last or done % self.log.checkpoint_every == 0
        # A validated state is saved as well: the best must be the one that was measured.
        if self.accelerator.is_main_process and (due or quality is not None):
            tensors, state = self.trainer.tensors()
            more = {"elapsed": self._elapsed()._asdict(), "averages": self.averages.state()}
            self.store.save(done, tensors, state | more, quality)
        if stopping and not last:
            self.accelerator.wait_for_everyone()
            self.stop.raise_if_requested()
            raise Stopped("another process of this run was stopped")

    def _elapsed(self) -> TrainingTime:
        return TrainingTime.now().since(self._begin, self.earlier)


class Averages:
    """Means of named figures since the last ``take``; figures may be absent in some steps."""

    def __init__(self, state: Mapping[str, tuple[float, int]] | None = None) -> None:
        self._sums = {name: (total, count) for name, (total, count) in (state or {}).items()}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Count one step's figures."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(value), count + 1)

    def take(self) -> dict[str, float]:
        """The means; counting starts anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        """As a JSON value, for the constructor."""
        return dict(self._sums)
