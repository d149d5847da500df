"""Checkpoints that hold everything needed to continue, without pickle.

    checkpoints/step_00000123/{tensors.safetensors,state.json}
    checkpoints/latest, best     text files naming one of these folders

A folder appears under its final name only when complete, so a kill at any moment leaves the
previous checkpoint in place.
"""

import logging
import os
import random
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from training_core.config import InputError
from training_core.files import atomic
from training_core.files.checkpoint_files import Checkpoint as Checkpoint
from training_core.files.checkpoint_files import (
    read_checkpoint,
    read_metric,
    verify_checkpoint,
    write_checkpoint,
)
from training_core.step.pieces import gathered, in_pieces_like

logger = logging.getLogger(__name__)

_NAME = re.compile(r"step_(\d+)(\.old)?")

T = TypeVar("T")


class CheckpointStore:
    """The checkpoints of one run. One process may save; any number may read."""

    def __init__(self, folder: Path, keep_last: int = 2) -> None:
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1, got {keep_last}")
        self.folder = Path(folder)
        self.keep_last = keep_last

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        metric: float | None = None,
    ) -> Path:
        """Save a checkpoint, point `latest` (and `best`) to it, delete what is too old.

        Args:
            tensors: any devices, strides and dtypes; shared storage is allowed.
            state: JSON values; floats return exactly.
            metric: quality for `best`; higher is better.

        Raises:
            OSError: naming the file; earlier checkpoints are then untouched.
        """
        self._prepare()
        final = self.folder / f"step_{step:08d}"
        temporary = self.folder / f".tmp-{final.name}"
        previous = self.best() if metric is not None else None
        best_so_far = read_metric(previous) if previous else None
        temporary.mkdir()
        try:
            write_checkpoint(temporary, step, tensors, state, metric)
            if final.exists():
                os.rename(final, final.with_suffix(".old"))
            atomic.publish_directory(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        atomic.write_text(self.folder / "latest", final.name)
        if metric is not None and (best_so_far is None or metric > best_so_far):
            atomic.write_text(self.folder / "best", final.name)
        self._prune()
        return final

    def latest(self) -> Path | None:
        """The newest checkpoint folder, or None."""
        candidates = self._candidates()
        return candidates[0] if candidates else None

    def best(self) -> Path | None:
        """The folder saved with the highest metric, or None when none was given."""
        return self._pointed("best")

    def load(self, path: Path | None = None) -> Checkpoint | None:
        """Load the folder `path`, or the newest readable checkpoint; None when there is none.

        Raises:
            InputError: `path` is damaged, or there are checkpoints and none can be read.
        """
        if path is not None:
            return read_checkpoint(Path(path))
        return self._newest_of(read_checkpoint)

    def newest_whole(self) -> tuple[Path, int] | None:
        """Folder and step of the checkpoint that `load` would load, without loading it.

        Raises:
            InputError: there are checkpoints and none can be read.
        """
        return self._newest_of(lambda folder: (folder, verify_checkpoint(folder)))

    def _newest_of(self, read: Callable[[Path], T]) -> T | None:
        """What `read` makes of the newest checkpoint that it does not refuse."""
        candidates = self._candidates()
        for candidate in candidates:
            try:
                return read(candidate)
            except InputError as error:
                logger.warning("%s; trying the one before", error)
        if candidates:
            raise InputError(f"{self.folder}: none of {len(candidates)} checkpoints can be read")
        return None

    def _candidates(self) -> list[Path]:
        """Folders to try, first the one that `latest` names, then by falling step."""
        found, pointed = self._folders(), self._pointed("latest")
        if pointed is None:
            return found
        # Not among those found if another process saved it since.
        return [pointed, *(folder for folder in found if folder != pointed)]

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        entries = [path for path in self.folder.iterdir() if path.is_dir()]
        steps = {path: match for path in entries if (match := _NAME.fullmatch(path.name))}
        # Between a folder and its replaced `.old` version the former comes first.
        return sorted(steps, key=lambda p: (-int(steps[p][1]), steps[p][2] is not None))

    def _pointed(self, name: str) -> Path | None:
        """The folder that a pointer file names, if it is one of ours."""
        try:
            named = (self.folder / name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return next((folder for folder in self._folders() if folder.name == named), None)

    def _prepare(self) -> None:
        """Remove what a kill left behind; only the process that saves may do this."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*tmp*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        for old in self.folder.glob("step_*.old"):
            if old.with_suffix("").exists():
                shutil.rmtree(old)
            else:
                os.rename(old, old.with_suffix(""))

    def _prune(self) -> None:
        current = [folder for folder in self._folders() if folder.suffix != ".old"]
        keep = {self.latest(), self.best(), *current[: self.keep_last]}
        for folder in self._folders():
            if folder not in keep:
                # Renamed first: a half-deleted folder must not look like a checkpoint.
                doomed = self.folder / f".tmp-{folder.name}"
                os.rename(folder, doomed)
                shutil.rmtree(doomed)


def capture_optimizer(
    optimizer: torch.optim.Optimizer, prefix: str
) -> tuple[dict[str, Tensor], Any]:
    """All state of an optimizer as (tensors named `<prefix>.…`, JSON value).

    Where parameters are in pieces, all processes must call this, see `training_core.step.pieces`.
    """
    tensors, state = _split(optimizer.state_dict(), prefix)
    return gathered(tensors), state


def restore_optimizer(
    optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor], state: Any
) -> None:
    """Undo `capture_optimizer` on an optimizer over the same parameters, bit for bit.

    Raises:
        InputError: the saved state belongs to other parameters.
    """
    try:
        saved = _join(state, tensors)
        optimizer.load_state_dict(saved)
    except (KeyError, ValueError) as error:
        raise InputError(f"checkpoint does not fit the optimizer {prefix!r}: {error}") from error
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    indices = [i for group in saved["param_groups"] for i in group["params"]]
    for parameter, index in zip(parameters, indices, strict=True):
        for name, value in saved["state"].get(index, {}).items():
            # load_state_dict casts to the parameter's dtype, which would lose bits.
            live = optimizer.state[parameter][name]
            if isinstance(value, Tensor) and live.dtype != value.dtype:
                live = value.to(live.device)
            # Fused Adam walks through memory: moments with other strides than their parameter
            # (channels-last weights; files are contiguous) would be paired with other weights.
            if isinstance(live, Tensor) and live.shape == parameter.shape:
                like = torch.empty_like(parameter, dtype=live.dtype)
                live = like.copy_(in_pieces_like(live, like))
            optimizer.state[parameter][name] = live


def seed_everything(seed: int) -> None:
    """Seed torch's, NumPy's and Python's global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def capture_rng() -> tuple[dict[str, Tensor], Any]:
    """States of torch's (CPU and every CUDA device), NumPy's and Python's global generators."""
    name, keys, *rest = np.random.get_state()
    states = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }
    return _split(states, "rng")


def restore_rng(tensors: Mapping[str, Tensor], state: Any) -> None:
    """Undo `capture_rng`. CUDA states are skipped where the number of devices differs."""
    states = _join(state, tensors)
    torch.set_rng_state(states["torch"])
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(states["cuda"]) == devices:
        for index, cuda_state in enumerate(states["cuda"]):
            torch.cuda.set_rng_state(cuda_state, index)
    else:
        logger.warning("saved with %d CUDA devices, now %d", len(states["cuda"]), devices)
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])


def _split(value: Any, key: str) -> tuple[dict[str, Tensor], Any]:
    """Take the tensors out of nested dicts, lists and tuples, leaving a JSON value."""
    tensors: dict[str, Tensor] = {}

    def visit(value: Any, key: str) -> Any:
        if isinstance(value, Tensor):
            tensors[key] = value
            return {"tensor": key}
        if isinstance(value, Mapping):
            return {"dict": [[k, visit(v, f"{key}.{k}")] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            items = [visit(v, f"{key}.{i}") for i, v in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        return value

    return tensors, visit(value, key)


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `_split`; tensors are copies, so that training does not write into the source."""
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content].clone()
    if kind == "dict":
        return {k: _join(v, tensors) for k, v in content}
    return tuple(_join(item, tensors) for item in content)
