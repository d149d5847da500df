"""Settings that every training command has: its run folder, its device, how often it writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from training_core.checks import at_least
from training_core.config import SEEDS, THREADS, option
from training_core.run_folder import RunFolder


@dataclass
class LogConfig:
    every: int = option(100, "steps between log lines")
    checkpoint_every: int = option(1000, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints kept besides the best")

    def validate(self) -> None:
        """Raises ValueError on intervals below one."""
        at_least(1, every=self.every, checkpoint_every=self.checkpoint_every)
        at_least(1, keep_last=self.keep_last)


@dataclass
class ValidatedLogConfig(LogConfig):
    validate_every: int = option(2000, "steps between validations; 0 = never")

    def validate(self) -> None:
        """Raises ValueError on intervals below one, of validations below zero."""
        super().validate()
        at_least(0, validate_every=self.validate_every)


@dataclass
class CommandConfig:
    """What every training command can be told, whatever it trains.

    Attributes:
        may_change: keys, or sections of keys, that may differ between the start of a run and its
            continuation. Another device or number of threads changes the last bits of the result,
            nothing else in it does.
        memory_keys: what to turn down, or on, where memory runs out; the likeliest first.
    """

    may_change: ClassVar[tuple[str, ...]] = (
        *("log", "threads", "device", "deterministic", "resume", "output_root"),
        "name",  # the folder's, which may be renamed or copied
    )
    memory_keys: ClassVar[tuple[str, ...]] = ()

    name: str = option("run", "name of the run's folder")
    output_root: str = option("runs", "where run folders are made")
    resume: str = option(
        "auto", "auto = continue a run of this name, never = new folder", choices=("auto", "never")
    )
    extend: str = option(
        "",
        "folder of a run to train longer, under another name and with more steps: starts from its "
        "last checkpoint, step count included; schedules go on as of a run of the new length",
    )
    seed: int = option(0, "seed of everything random", bounds=SEEDS)
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    deterministic: bool = option(
        False,
        "on CUDA: kernels that repeat bit for bit, slower; runs on a CPU repeat in any case",
    )
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch", bounds=THREADS)

    def open_run(self, phase: str) -> RunFolder:
        """Create or continue the run folder ``<output_root>/<phase>/<name>``.

        Raises:
            ConfigError: see ``RunFolder.open``.
        """
        root = Path(self.output_root)
        return RunFolder.open(root, phase, self.name, self, self.resume, self.may_change)

    def describe_run(self, phase: str, result: str = "") -> str:
        """The line of ``--dry-run`` that says where the run, or its ``result``, will be.

        Raises:
            ConfigError: see ``RunFolder.look_up``.
        """
        root = Path(self.output_root)
        run = RunFolder.look_up(root, phase, self.name, self, self.resume, self.may_change)
        return f"to {run.describe(result)}"
