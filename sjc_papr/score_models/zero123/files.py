"""Tensors of a weight file by name, read one at a time, and put into a network without a rest.

Original checkpoints are pickles of a whole training state. They are opened by a reader that knows
how to rebuild tensors and nothing else: whatever other object they hold becomes an empty shell, so
no code of a file ever runs.
"""

import io
import logging
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sjc_papr.score_models.zero123.names import Source
from training_core.config import InputError

logger = logging.getLogger(__name__)

_SHOWN = 6  # names in one message; the first ones tell what is wrong
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)
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


class WeightFile:
    """The tensors of one file; remembers which were asked for.

    Attributes:
        path: of the file.
        shapes: of all its tensors, by name.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes: dict[str, tuple[int, ...]]
        if not path.is_file():
            raise InputError(f"{path}: missing")
        self._read: Callable[[str], Tensor]
        if path.suffix == ".safetensors":
            self._open_safetensors()
        else:
            tensors = _pickled(path)
            self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            self._read = tensors.__getitem__
        self._used: set[str] = set()

    def _open_safetensors(self) -> None:
        try:
            file = safe_open(self.path, framework="pt")
            self.shapes = {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path}: not a readable safetensors file: {error}") from error
        self._read = file.get_tensor

    def read(self, name: str) -> Tensor:
        """A tensor by its name in the file."""
        self._used.add(name)
        return self._read(name)

    def place(
        self,
        network: nn.Module,
        sources: Mapping[str, Source],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Give every tensor of a network, built on the meta device, its values.

        Args:
            sources: where each tensor of its state dict is.

        Raises:
            InputError: tensors are missing or of another shape; the message names them.
        """
        wanted = {
            source.name: source.stored_shape(tensor.shape)
            for source, tensor in ((sources[n], t) for n, t in network.state_dict().items())
        }
        if missing := [name for name in wanted if name not in self.shapes]:
            raise InputError(f"{self.path}: {len(missing)} tensors missing: {_list(missing)}")
        wrong = [
            f"{name} is {list(self.shapes[name])}, expected {list(shape)}"
            for name, shape in wanted.items()
            if self.shapes[name] != shape
        ]
        if wrong:
            raise InputError(f"{self.path}: {len(wrong)} wrong shapes: {_list(wrong)}")
        # A copy, because a tensor from a file lies in that file, which may be written again; in
        # plain order, because the order of values in memory decides how sums are rounded.
        state = {
            name: sources[name]
            .take(self.read(sources[name].name))
            .to(device, dtype, copy=True, memory_format=torch.contiguous_format)
            for name in network.state_dict()
        }
        network.load_state_dict(state, strict=True, assign=True)

    def refuse_rest(self, ignored: re.Pattern[str]) -> None:
        """Refuse tensors that nothing asked for.

        Raises:
            InputError: there are tensors that were not read and do not match ``ignored``.
        """
        rest = [n for n in self.shapes if n not in self._used and not ignored.search(n)]
        if rest:
            raise InputError(f"{self.path}: {len(rest)} unknown tensors: {_list(rest)}")


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


def _pickled(path: Path) -> dict[str, Tensor]:
    """State dict of a file written by torch.save, bare or within a Lightning checkpoint."""
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
    except _UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: not a readable checkpoint: {reason}") from error
    state = saved.get("state_dict", saved) if isinstance(saved, dict | OrderedDict) else {}
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path}: holds no state dict")
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path}: entries that are no tensors: {_list(others)}")
    return cast(dict[str, Tensor], state)


def _list(names: list[str]) -> str:
    rest = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
