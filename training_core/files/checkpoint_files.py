"""The two files of one checkpoint, each with a checksum that tells damage from data."""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training_core.config import InputError
from training_core.files import atomic
from training_core.files.json_files import parse_json

_CHUNK = 1 << 24  # bytes
TENSORS_FILE, STATE_FILE = "tensors.safetensors", "state.json"
_DTYPES: dict[str, torch.dtype] = {code: getattr(torch, name) for name, code in atomic.FORMATS}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved at `step`: CPU tensors by name and a JSON-able state."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def write_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    metric: float | None,
) -> None:
    """Write both files into `folder`. Raises OSError, naming the file."""
    checksum = atomic.write_tensors(folder / TENSORS_FILE, tensors)
    record = {"step": step, "metric": metric, "crc32": checksum, "state": state}
    atomic.write_json(folder / STATE_FILE, record | {"state_crc32": _checksum(record)})


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read both files.

    Raises:
        InputError: one of them is missing or damaged; the folder is named.
    """
    try:
        record = _read_record(folder)
        data = bytearray((folder / TENSORS_FILE).stat().st_size)
        with open(folder / TENSORS_FILE, "rb") as file:
            file.readinto(data)
        if zlib.crc32(data) != record["crc32"]:
            raise InputError(f"checkpoint {folder}: {TENSORS_FILE} is damaged")
        return Checkpoint(record["step"], tensors_in(data), record["state"])
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"checkpoint {folder} cannot be read: {error}") from error


def tensors_in(data: bytearray) -> dict[str, Tensor]:
    """The tensors of a safetensors file that was read; they lie in ``data``, not beside it.

    Raises:
        ValueError: it is no such file.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    header = parse_json(bytes(data[8:start]))
    if not isinstance(header, dict):
        raise ValueError("no header of tensors")
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, (low, high) = _DTYPES[entry["dtype"]], entry["data_offsets"]
            count = (high - low) // dtype.itemsize
            flat = torch.empty(0, dtype=dtype)
            if count:
                flat = torch.frombuffer(data, dtype=dtype, count=count, offset=start + low)
            found[name] = flat.reshape(entry["shape"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{name} cannot be read: {error}") from error
    return found


def verify_checkpoint(folder: Path) -> int:
    """The step of a checkpoint, of which both files are as they were written.

    Reads all of it, but holds little of it at a time.

    Raises:
        InputError: one of the files is missing or damaged; the folder is named.
    """
    try:
        record, checksum = _read_record(folder), 0
        with open(folder / TENSORS_FILE, "rb") as file:
            while chunk := file.read(_CHUNK):
                checksum = zlib.crc32(chunk, checksum)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"checkpoint {folder} cannot be read: {error}") from error
    if checksum != record["crc32"]:
        raise InputError(f"checkpoint {folder}: {TENSORS_FILE} is damaged")
    return int(record["step"])


def read_metric(folder: Path) -> float | None:
    """The quality that a checkpoint was saved with; None without, or where it cannot be read."""
    try:
        metric = _read_record(folder)["metric"]
        return None if metric is None else float(metric)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_record(folder: Path) -> dict[str, Any]:
    """The content of the state file, refused where it is not what was written."""
    record = parse_json((folder / STATE_FILE).read_bytes())
    damaged = InputError(f"checkpoint {folder}: {STATE_FILE} is damaged")
    if not isinstance(record, dict):
        raise damaged
    if "state_crc32" in record and record.pop("state_crc32") != _checksum(record):
        raise damaged  # checkpoints of older versions have no checksum here
    whole = isinstance(record.get("step"), int) and isinstance(record.get("state"), dict)
    if not whole or "crc32" not in record:
        raise damaged
    return record


def _checksum(record: Mapping[str, Any]) -> int:
    """Of the values, however the file is indented."""
    return zlib.crc32(json.dumps(record, separators=(",", ":")).encode())
