"""The loop around a step: logging, validation, checkpoints, stopping, and starting over from the
last good state.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from sjc_papr.config import LogConfig
from training_core.checkpoint import Checkpoint, CheckpointStore
from training_core.guards import TrainingFault
from training_core.metrics_log import MetricsLog, progress
from training_core.run_folder import RunFolder
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)

Validate = Callable[[MetricsLog, int], float]
Look = Callable[[MetricsLog, int], None]


class Diverged(TrainingFault):
    """A step found that training has left the road; the state of before may be tried again."""


class Steps(Protocol):
    """Something that is trained a step at a time."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        ...

    def step(self, step: int, *, measure: bool = False) -> Mapping[str, Tensor]:
        """Run a step; its values hold ``loss/total``. ``measure``: this step's are logged."""
        ...

    def facts(self) -> Mapping[str, float]:
        """What is logged beside the losses."""
        ...

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds."""
        ...

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """Something that can be tried again, more carefully, after it diverged."""

    @property
    def may_diverge(self) -> bool:
        """Whether a step can raise Diverged, so that there must be a checkpoint to go back to."""
        ...

    def start_over(self, fault: Diverged, saved: Checkpoint) -> None:
        """Restore ``saved`` and be more careful from there; raises ``fault`` when that was tried
        often enough.
        """
        ...


class TrainingTime(NamedTuple):
    """Time spent training, restarts included: on the clock, and of all CPU threads together."""

    seconds: float
    cpu_seconds: float

    @staticmethod
    def now() -> "TrainingTime":
        return TrainingTime(time.monotonic(), time.process_time())

    def since(self, begin: "TrainingTime", earlier: "TrainingTime") -> "TrainingTime":
        """What lies between ``begin`` and here, plus ``earlier``."""
        return TrainingTime(*(a - b + c for a, b, c in zip(self, begin, earlier, strict=True)))


def fit(
    trainer: Steps,
    run: RunFolder,
    log: LogConfig,
    stop: StopSignals,
    *,
    description: str,
    validate: Validate | None = None,
    look: Look | None = None,
) -> TrainingTime:
    """Train to the end, from the run's latest checkpoint if it has one.

    Args:
        trainer: where it is ``Restarts`` too, a step that diverged leads back to the latest
            checkpoint instead of ending the run.
        validate: called every ``log.validate_every`` steps; returns the PSNR by which the best is
            kept.
        look: shows pictures at the same steps, at every checkpoint where nothing is validated.

    Returns:
        Time spent training, that before a restart included.

    Raises:
        Stopped: a signal came; everything is saved. TrainingFault: see the trainer's ``step``.
    """
    store = CheckpointStore(run.checkpoints, keep_last=log.keep_last)
    total, (step, earlier) = trainer.steps, _resume(trainer, store)
    begin = TrainingTime.now()

    def save(done: int, quality: float | None) -> None:
        tensors, state = trainer.tensors()
        elapsed = TrainingTime.now().since(begin, earlier)
        store.save(done, tensors, state | {"elapsed": elapsed._asdict()}, quality)

    if not step and isinstance(trainer, Restarts) and trainer.may_diverge:
        save(0, None)  # somewhere to go back to
    with (
        MetricsLog(run, step) as metrics,
        progress(total, initial=step, description=description) as bar,
    ):
        while step < total:
            done = step + 1
            logged = done % log.every == 0 or done == total
            try:
                values = trainer.step(step, measure=logged)
            except Diverged as fault:
                begun, step = step, _start_over(trainer, store, fault, metrics)
                bar.update(step - begun)
                continue
            if logged:
                bar.set_postfix(loss=_log(trainer, metrics, done, values))
            quality = _inspect(log, metrics, done, look, validate)
            due = done % log.checkpoint_every == 0 or done == total or stop.requested
            # A validated state is saved as well: the best must be the one that was measured.
            if due or quality is not None:
                save(done, quality)
                stop.raise_if_requested()
            bar.update()
            step = done
    return TrainingTime.now().since(begin, earlier)


def _resume(trainer: Steps, store: CheckpointStore) -> tuple[int, TrainingTime]:
    """Take up the latest checkpoint; returns its step and the time spent until then."""
    saved = store.load()
    if saved is None:
        return 0, TrainingTime(0.0, 0.0)
    trainer.restore(saved)
    return saved.step, TrainingTime(**saved.state["elapsed"])


def _log(trainer: Steps, metrics: MetricsLog, done: int, values: Mapping[str, Tensor]) -> float:
    """Write a step's figures; returns its loss."""
    numbers = {name: float(value) for name, value in values.items()}
    metrics.log(done, numbers | dict(trainer.facts()))
    return numbers["loss/total"]


def _inspect(
    log: LogConfig, metrics: MetricsLog, done: int, look: Look | None, validate: Validate | None
) -> float | None:
    """Show pictures and validate where it is time; returns the PSNR, None without validation."""
    look_every = log.validate_every or log.checkpoint_every
    if look and done % look_every == 0:
        look(metrics, done)
    if validate and log.validate_every and done % log.validate_every == 0:
        return validate(metrics, done)
    return None


def _start_over(
    trainer: Steps, store: CheckpointStore, fault: Diverged, metrics: MetricsLog
) -> int:
    """Back to the latest checkpoint; returns its step."""
    saved = store.load()
    if saved is None or not isinstance(trainer, Restarts):
        raise fault
    logger.warning("%s; back to step %d", fault, saved.step)
    trainer.start_over(fault, saved)
    metrics.rewind(saved.step)
    return saved.step
