"""Files and folders that appear complete or not at all, even after a power cut."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` by way of a temporary file in the same folder.

    Raises:
        OSError: with `filename` set; the old content of `path` is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON (floats in full precision); see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Write a safetensors file of CPU copies, of any strides and with shared storage."""
    write_bytes(path, tensor_bytes(tensors))


def tensor_bytes(tensors: "Mapping[str, Tensor]") -> bytes:
    """The content of a safetensors file holding contiguous CPU copies of `tensors`."""
    import torch
    from safetensors.torch import save

    return save(
        {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
        }
    )


def publish_directory(temporary: Path, final: Path) -> None:
    """Sync every file under `temporary`, then rename it to `final`, which must not exist."""
    for folder, _, files in os.walk(temporary):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(folder))
    os.rename(temporary, final)
    sync_folder(Path(final).parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; file systems that cannot do it are tolerated."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError raised inside the file name that the system left out (a full disk)."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(".tmp"):
            error.filename, error.filename2 = str(path), None
        raise
