"""Small trainings as one of several processes does them; run by ``test_processes.py``.

``python two_processes.py FOLDER`` with RANK, WORLD_SIZE and MASTER_* set.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from small_training import make_trainer
from torch import Tensor

from mnvs.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore
from training_core.step.pieces import whole

SHARED = {"batch": 4, "steps": 3, "optimizer__rate": 1e-3, "optimizer__epsilon": 1e-3}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"parameters": "full"},
    "adapters in parts": {"lora__mode": "full", "accumulate": 2},
    "sharded": {"parameters": "full", "shard": True, "ema": 0.5},
    "sharded in parts": {
        "parameters": "full",
        "shard": True,
        "accumulate": 2,
        "gradient_checkpointing": True,
    },
}
CONTINUED = "sharded"


def train(folder: Path, variant: str) -> dict[str, Tensor]:
    """Losses, gradient norms and final weights of one variant."""
    trainer = make_trainer(folder, **SHARED, **VARIANTS[variant])
    return steps(trainer, 0)


def steps(trainer: Trainer, first: int) -> dict[str, Tensor]:
    """Losses and gradient norms from this step on, and final weights and averages, whole."""
    found = {}
    for step in range(first, trainer.config.steps):
        figures = trainer.step(step)
        for name in ("loss/total", "gradient_norm"):
            found[f"{name} {step}"] = figures[name].detach()
    found |= {name: whole(p.detach()) for name, p in trainer.parameters.items()}
    averages = trainer.ema.averages if trainer.ema else {}
    return found | {f"average of {name}": whole(a) for name, a in averages.items()}


def continued(folder: Path) -> dict[str, Tensor]:
    """The same, stopped after the first step and continued from its checkpoint."""
    store = CheckpointStore(folder / "checkpoints")
    before = make_trainer(folder, **SHARED, **VARIANTS[CONTINUED])
    before.step(0)
    tensors, state = before.tensors()
    if torch.distributed.get_rank() == 0:
        store.save(1, tensors, state)
    torch.distributed.barrier()
    after = make_trainer(folder, **SHARED, **VARIANTS[CONTINUED], seed=0)
    saved = store.load()
    assert saved is not None
    after.restore(saved)
    return steps(after, 1)


def held(folder: Path) -> tuple[int, int]:
    """Numbers that this process holds of weights and moments, and how many there are."""
    trainer = make_trainer(folder, **SHARED, **VARIANTS["sharded"])
    trainer.step(0)
    moments = trainer.optimizer.optimizer.state.values()
    tensors = [*trainer.parameters.values(), *(m["exp_avg"] for m in moments)]
    pieces: list[Any] = [t.detach() for t in tensors]
    return sum(p.to_local().numel() for p in pieces), sum(p.numel() for p in pieces)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    found = {variant: train(folder, variant) for variant in VARIANTS}
    rank = torch.distributed.get_rank()
    result = {"variants": found, "continued": continued(folder), "held": held(folder)}
    torch.save(result, folder / f"process_{rank}.pt")


if __name__ == "__main__":
    main()
