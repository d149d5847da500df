"""Tensors of which every process holds a piece, as torch's ``fully_shard`` makes them (DTensor).

Whatever puts pieces together must be asked for by all processes at the same time.
"""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or what its pieces are together, in every process."""
    pieces: Any = tensor
    together: Tensor = pieces.full_tensor() if in_pieces(tensor) else tensor
    return together


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those in pieces put together one by one and on the CPU.

    The main process alone gets the latter: together they may be larger than a device, and than
    what all processes of a node could hold.
    """
    found = {}
    for name, tensor in tensors.items():
        if in_pieces(tensor):
            together = whole(tensor)
            if dist.get_rank() == 0:
                found[name] = together.cpu()
        else:
            found[name] = tensor
    return found


def in_pieces_like(value: Tensor, like: Tensor) -> Tensor:
    """``value``, which every process has whole, in pieces as ``like`` is; else as it is."""
    if not in_pieces(like) or in_pieces(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    pieces: Any = like
    return distribute_tensor(value.to(like.device), pieces.device_mesh, pieces.placements)


def in_pieces(tensor: Tensor) -> bool:
    """Whether this process has only a piece of it."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    from torch.distributed.tensor import DTensor  # late, for it takes long to import

    return isinstance(tensor, DTensor)
