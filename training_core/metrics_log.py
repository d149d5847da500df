"""Numbers, images and progress of a run: metrics.jsonl, TensorBoard and a progress bar."""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from training_core.files import atomic
from training_core.files.json_files import parse_json
from training_core.run_folder import RunFolder

logger = logging.getLogger(__name__)

LOG_INTERVAL_SECONDS = 15.0


class MetricsLog:
    """Writes the metrics of one run folder; also a context manager.

    Lines of an earlier start beyond `start_step` (the step of the checkpoint that was loaded) are
    dropped, so that metrics.jsonl reads as if the run had never stopped.
    """

    def __init__(self, run: RunFolder, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._path = run.path / "metrics.jsonl"
        _drop_after(self._path, start_step)
        self._start = time.monotonic()
        purge = start_step + 1 if run.resumed else None
        with atomic.naming(self._path):
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
            self._board = SummaryWriter(str(run.tensorboard), purge_step=purge)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one line; NaN and infinity become null in it."""
        numbers = {name: float(value) for name, value in values.items()}
        shown = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        seconds = round(time.monotonic() - self._start, 3)
        with atomic.naming(self._path):
            self._file.write(json.dumps({"step": step, "seconds": seconds, **shown}) + "\n")
            self._file.flush()
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)

    def image(self, tag: str, array: Any, step: int) -> None:
        """Show an image, [H, W, C] floats in [0, 1] (array or CPU tensor), in TensorBoard."""
        pixels = np.asarray(array, dtype=np.float32).clip(0.0, 1.0)
        with atomic.naming(self._path):
            self._board.add_image(tag, pixels, step, dataformats="HWC")

    def points(self, tag: str, xyz: Any, rgb: Any, step: int) -> None:
        """Show points in TensorBoard: `xyz` [N, 3], `rgb` [N, 3] in [0, 1]."""
        vertices = np.asarray(xyz, dtype=np.float32)[None]
        colours = np.asarray(rgb, dtype=np.float32)[None].clip(0.0, 1.0) * 255.0
        with atomic.naming(self._path):
            self._board.add_mesh(
                tag, vertices, colors=np.rint(colours).astype(np.uint8), global_step=step
            )

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, because training goes on from there once more."""
        with atomic.naming(self._path):
            self._file.close()
            _drop_after(self._path, step)
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115

    def close(self) -> None:
        """Write out what is still in memory."""
        with atomic.naming(self._path):
            self._file.close()
            self._board.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *details: Any) -> None:
        self.close()


def write_final(run: RunFolder, values: Mapping[str, Any]) -> None:
    """Write the final figures to metrics.json; NaN and infinity, which JSON lacks, become null."""
    atomic.write_json(run.path / "metrics.json", _as_json(values))


def _as_json(value: Any) -> Any:
    """Mappings, lists and numbers, with None for each number that is not finite."""
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Averages:
    """Means of named numbers since the last `take`; a number may be absent in some steps.

    Args:
        state: what `state` of another one returned, to count on from there.
    """

    def __init__(self, state: Mapping[str, tuple[float, int]] | None = None) -> None:
        self._sums = {name: (total, count) for name, (total, count) in (state or {}).items()}

    def add(self, values: Mapping[str, float]) -> None:
        """Count the numbers of one step."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(value), count + 1)

    def take(self) -> dict[str, float]:
        """The means; counting starts anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        """Sum and count of each number, as a JSON value."""
        return dict(self._sums)


class Progress(Protocol):
    """What `progress_bar` returns; also a context manager."""

    def update(self, n: int = 1) -> Any:
        """Count `n` more steps."""

    def set_postfix(self, **values: Any) -> None:
        """Show these values beside the count."""

    def __enter__(self) -> "Progress": ...

    def __exit__(self, *details: Any) -> Any: ...


def progress_bar(total: int, *, initial: int = 0, description: str, unit: str = "step") -> Progress:
    """Progress with time left: a bar on a terminal, else a log line every 15 s at most."""
    if sys.stderr.isatty():
        return _Bar(total=total, initial=initial, desc=description, unit=unit, dynamic_ncols=True)
    return _LoggedProgress(total, initial, description, unit)


class _Bar(tqdm):
    def set_postfix(self, **values: Any) -> None:
        super().set_postfix(refresh=False, **values)


class _LoggedProgress:
    def __init__(self, total: int, initial: int, description: str, unit: str) -> None:
        self._total, self._initial, self._done = total, initial, initial
        self._description, self._unit = description, unit
        self._start = self._last = time.monotonic()
        self._values: dict[str, Any] = {}
        self._reported = -1

    def update(self, n: int = 1) -> None:
        self._done += n
        if time.monotonic() - self._last >= LOG_INTERVAL_SECONDS:
            self._report()

    def set_postfix(self, **values: Any) -> None:
        self._values = values

    def __enter__(self) -> "_LoggedProgress":
        return self

    def __exit__(self, *details: Any) -> None:
        if self._reported != self._done:
            self._report()

    def _report(self) -> None:
        self._last, self._reported = time.monotonic(), self._done
        elapsed, fresh = self._last - self._start, self._done - self._initial
        left = elapsed / fresh * (self._total - self._done) if fresh else math.nan
        parts = [
            f"{self._description}: {self._done}/{self._total} {self._unit}s",
            f"({100.0 * self._done / max(self._total, 1):.0f} %)",
            f"after {tqdm.format_interval(elapsed)},",
            f"{tqdm.format_interval(left) if fresh else '?'} left",
            *(
                f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                for k, v in self._values.items()
            ),
        ]
        logger.info(" ".join(parts))


def _drop_after(path: Path, step: int) -> None:
    """Drop lines later than `step`, a last line that a kill cut short, and what is no line."""
    if not path.exists():
        return
    content = path.read_bytes()
    kept = b"".join(line for line in content.splitlines(keepends=True) if _belongs(line, step))
    if kept != content:
        atomic.write_bytes(path, kept)


def _belongs(line: bytes, step: int) -> bool:
    number = _step_of(line)
    return line.endswith(b"\n") and number is not None and number <= step


def _step_of(line: bytes) -> int | None:
    """The step of a line, None where it has none."""
    try:
        return int(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def last_logged_step(path: Path) -> int:
    """The highest step in a metrics.jsonl; 0 where there is no file or nothing in it is readable.

    Raises:
        OSError: it is there and cannot be read.
    """
    if not path.is_file():
        return 0
    return max((_step_of(line) or 0 for line in path.read_bytes().splitlines()), default=0)
