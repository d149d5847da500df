"""State dicts out of files that torch.save wrote, without running any code of the file.

Original checkpoints are pickles of a whole training state. The reader here knows how to rebuild
tensors and nothing else: whatever other object a file holds becomes an empty shell.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor

from training_core.config import InputError

SHOWN = 6  # names in one message; the first ones tell what is wrong
# What PyTorch and the unpickler raise on files that are damaged or something else.
UNREADABLE = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(ArithmeticError, MemoryError, struct.error, pickle.PickleError, SafetensorError),
)
_REBUILDERS = frozenset(
    {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "Size"),
        *(("torch", f"{kind}Storage") for kind in ("Float", "Half", "BFloat16", "Double")),
        *(("torch", f"{kind}Storage") for kind in ("Long", "Int", "Short", "Byte", "Bool")),
    }
)


class _Shell:
    """Stands for any object that is not a tensor; takes everything, does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "_Shell":
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None: ...

    def __setstate__(self, _state: Any) -> None: ...

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def append(self, _item: Any) -> None: ...

    def extend(self, _items: Any) -> None: ...


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(module, name) if (module, name) in _REBUILDERS else _Shell


def _load_tensors_only(file: Any, **options: Any) -> Any:
    return _TensorUnpickler(file, **options).load()


# What torch.load asks of a pickle module.
_TENSORS_ONLY = SimpleNamespace(
    __name__="tensors_only",
    Unpickler=_TensorUnpickler,
    load=_load_tensors_only,
    loads=lambda data, **options: _load_tensors_only(io.BytesIO(data), **options),
    UnpicklingError=pickle.UnpicklingError,
)


def read_pickled(path: Path) -> dict[str, Tensor]:
    """State dict of a file written by torch.save, bare or within a Lightning checkpoint.

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        # Mapped where the format allows: 15 GB of training state need not be read for 5 GB.
        saved = torch.load(
            path,
            map_location="cpu",
            pickle_module=_TENSORS_ONLY,
            weights_only=False,
            mmap=zipped,
        )
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable checkpoint: {why_unreadable(path)}") from error
    state = saved.get("state_dict", saved) if isinstance(saved, dict | OrderedDict) else {}
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path}: holds no state dict")
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path}: entries that are no tensors: {listed(others)}")
    return cast(dict[str, Tensor], state)


def why_unreadable(path: Path) -> str:
    """What is known of a file that PyTorch could not load, without PyTorch's advice to run it."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        return str(error.strerror)
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file; git lfs pull fetches it"
    if start.startswith(b"PK"):
        whole = zipfile.is_zipfile(path)
        return "its content is damaged" if whole else "cut off: the archive has no end"
    if start.startswith(b"\x80"):
        return "a pickle that is cut off or damaged"
    if not any(byte < 9 or 13 < byte < 32 for byte in start):
        return "a text file"
    return "no file of torch.save"


def listed(names: list[str], separator: str = ", ") -> str:
    """The first few of the names, and how many more there are."""
    rest = f"{separator}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + rest
