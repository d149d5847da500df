"""A small training as one of several processes does it; run by ``test_processes.py``.

``python two_papr.py FOLDER`` with RANK, WORLD_SIZE and MASTER_* set.
"""

import sys
from pathlib import Path

import torch
from tiny_scene import small_model, sphere_views
from torch import Tensor

from sjc_papr.training.config import DensityConfig, OptimizeConfig, PatchConfig, RateConfig
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer
from training_core.step.processes import join_processes

CONFIG = OptimizeConfig(
    steps=6,
    # Adam's first steps are of full size whatever the gradient, so rounding would show in them.
    rates=RateConfig(factor=0.1),
    patches=PatchConfig(size=8, per_step=2, accumulate=2),
    density=DensityConfig(
        prune_events=1, prune_from=0.5, prune_below=0.999, grow_events=1, grow_from=0.5,
        grow_count=20,
    ),
    drop_points=0.1,
    clip_gradient=0.5,
)  # fmt: skip


def train(folder: Path) -> dict[str, Tensor]:
    """Losses, gradient norms and final weights."""
    processes = join_processes(torch.device("cpu"))
    torch.manual_seed(processes.rank)  # every process starts as the first one does
    model = small_model(150)
    sampler = PatchSampler(
        sphere_views(6), 1.0, CONFIG.patches, 0, None, (processes.rank, processes.count)
    )
    trainer = Trainer(
        model,
        sampler,
        CONFIG,
        single_stage(CONFIG.rates, CONFIG.steps),
        background=1.0,
        precision="float32",
        seed=0,
        fault_folder=folder,
        processes=processes,
    )
    found = {}
    for step in range(CONFIG.steps):
        logged = trainer.step(step)
        for name in ("loss/total", "gradient_norm"):
            found[f"{name} {step}"] = logged[name].detach()
    return found | {name: p.detach() for name, p in model.named_parameters()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = train(Path(sys.argv[1]))
    torch.save(found, Path(sys.argv[1]) / f"process_{torch.distributed.get_rank()}.pt")
