"""Files and folders that appear complete or not at all, even after a power cut."""

import contextlib
import json
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from training_core.config import InputError
from training_core.files.locks import locked

if TYPE_CHECKING:
    from torch import Tensor

# Number formats of torch and of safetensors files, in the order in which the library writes them,
# the last first.
FORMATS = (
    *(("bool", "BOOL"), ("uint8", "U8"), ("int8", "I8"), ("int16", "I16"), ("float16", "F16")),
    *(("bfloat16", "BF16"), ("int32", "I32"), ("float32", "F32"), ("float64", "F64")),
    ("int64", "I64"),
)


@contextlib.contextmanager
def replacing(path: Path, *, temporary: Path | None = None) -> Iterator[Path]:
    """A temporary name beside `path`, for the block to write; it becomes `path` at the end.

    Where the block fails, what it wrote is removed and the old content of `path` stays.

    Args:
        temporary: use this name, so that a later start overwrites what a killed one left. By
            default the name is unique, since another machine may be writing the same file.

    Raises:
        OSError: with `filename` set.
    """
    path = Path(path)
    temporary = temporary or path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with naming(path):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON (floats in full precision); see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> int:
    """Write a safetensors file of tensors of any device and strides, with shared storage too, one
    after the other, so that only one needs room beside them; returns the file's CRC-32.
    """
    checksum = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        for part in tensor_parts(tensors):
            checksum = zlib.crc32(part, checksum)
            file.write(part)
    return checksum


def tensor_bytes(
    tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None
) -> bytes:
    """The content of a safetensors file, see `tensor_parts`."""
    return b"".join(tensor_parts(tensors, metadata))


def tensor_parts(
    tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None
) -> "Iterator[bytes | memoryview]":
    """The content of a safetensors file in the library's own order, part by part; equal input gives
    equal bytes.

    Ours, because the library holds everything twice more while it writes, and writes `metadata` in
    an order left to chance.

    Raises:
        ValueError: a number format that the file format does not have.
    """
    import torch

    kinds = {getattr(torch, name): (rank, code) for rank, (name, code) in enumerate(FORMATS)}
    for name, tensor in tensors.items():
        if tensor.dtype not in kinds:
            raise ValueError(f"{name}: {tensor.dtype} has no place in a safetensors file")
    ordered = sorted(tensors, key=lambda name: (-kinds[tensors[name].dtype][0], name))
    # 8 bytes of length, a JSON header padded with spaces to a multiple of 8, the tensors.
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    at = 0
    for name in ordered:
        tensor = tensors[name]
        end = at + tensor.numel() * tensor.element_size()
        code, shape = kinds[tensor.dtype][1], list(tensor.shape)
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in ordered:
        values = tensors[name].detach().to("cpu", memory_format=torch.contiguous_format)
        yield values.contiguous().reshape(-1).view(torch.uint8).numpy().data


@contextlib.contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """An empty folder `.NAME.partial` beside `final`, which becomes `final` after the block.

    What a killed start left there is removed first; where the block fails, so is what it wrote.
    Of two processes that make the same folder the second waits, and then finds it there.

    Raises:
        InputError: `final` is a file, or a folder that is not empty.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_name(f".{final.name}.lock"), remove=True):
        if final.exists() and (not final.is_dir() or any(final.iterdir())):
            raise InputError(f"{final}: exists and holds something else; choose another place")
        partial = final.with_name(f".{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            with naming(final):
                yield partial
            if final.is_dir():
                final.rmdir()
            publish_directory(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


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
    """Give an OSError raised inside the file name that the system left out (a full disk).

    What safetensors raises where it cannot write becomes an OSError, too.
    """
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(".tmp"):
            error.filename, error.filename2 = str(path), None
        raise
