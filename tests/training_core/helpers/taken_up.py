"""A training that is stopped and taken up again, beside one that is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training_core.checkpoint import CheckpointStore


def assert_same_when_taken_up(make: Callable[[], Any], folder: Path) -> dict[str, Tensor]:
    """Six steps of the trainer that ``make`` gives leave the same bits as three, a checkpoint and
    three of another. Returns these.
    """
    whole, first = make(), make()
    for step in range(6):
        whole.step(step)
    for step in range(3):
        first.step(step)
    store = CheckpointStore(folder / "checkpoints", keep_last=1)
    store.save(3, *first.tensors(), None)
    saved, second = store.load(), make()
    assert saved is not None
    second.restore(saved)
    for step in range(3, 6):
        second.step(step)
    ours, theirs = whole.tensors()[0], second.tensors()[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    return ours
