"""Counts what would make the processor wait for a GPU, on a machine that has none."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Reading a value, or a result whose shape depends on values.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique2",
    "aten::equal",
    "aten::item",
}


class WaitCounter(TorchDispatchMode):
    """Counts operations that wait for a device, by name, and copies to it or from it."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split(".")[0]
        if name in WAITING and args[0].device.type == self.device:
            self.seen[name] += 1
        # A bool tensor as an index is nonzero in disguise.
        if name in ("aten::index", "aten::index_put_", "aten::index_put"):
            masks = [i for i in args[1] if isinstance(i, Tensor) and i.dtype == torch.bool]
            self.seen["index by a mask"] += len(masks)
        result = func(*args, **(kwargs or {}))
        if name in ("aten::_to_copy", "aten::copy_"):
            kinds = {x.device.type for x in (args[1 if name == "aten::copy_" else 0], result)}
            self.seen["copy between devices"] += len(kinds) > 1
        return result

    @property
    def total(self) -> int:
        return sum(self.seen.values())
