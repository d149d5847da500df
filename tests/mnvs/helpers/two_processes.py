"""Small trainings as one of several processes does them; run by ``test_processes.py``.

``python two_processes.py FOLDER`` with RANK, WORLD_SIZE and MASTER_* set.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from small_training import make_trainer
from torch import Tensor

SHARED = {"batch": 4, "steps": 3, "optimizer__rate": 1e-3, "optimizer__epsilon": 1e-3}
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"parameters": "full"},
    "adapters in parts": {"lora__mode": "full", "accumulate": 2},
}


def train(folder: Path, variant: str) -> dict[str, Tensor]:
    """Losses, gradient norms and final weights of one variant."""
    trainer = make_trainer(folder, **SHARED, **VARIANTS[variant])
    found = {}
    for step in range(trainer.config.steps):
        figures = trainer.step(step)
        for name in ("loss/total", "gradient_norm"):
            found[f"{name} {step}"] = figures[name].detach()
    return found | {name: p.detach() for name, p in trainer.parameters.items()}


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    found = {variant: train(folder, variant) for variant in VARIANTS}
    rank = torch.distributed.get_rank()
    torch.save(found, folder / f"process_{rank}.pt")


if __name__ == "__main__":
    main()
