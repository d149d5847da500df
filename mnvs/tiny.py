"""Write a tiny checkpoint with random weights, in the layout of the real ones, for CPU runs.

``python -m mnvs.tiny folder=models/tiny vae=runs/mnvs/tiny_vae/vae``

The folder gets ``zero123plus/``, ``svd/`` and ``animatediff/``; see
``mnvs.checkpoints.tiny_checkpoint``.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from mnvs.checkpoints.tiny_checkpoint import (
    TinyConfig,
    build_tiny,
    checkpoint_vae,
    motion_adapter,
    spatial_unet,
    temporal_unet,
    vision_encoder,
)
from training_core.cli import run_command
from training_core.config import InputError

logger = logging.getLogger(__name__)


def run(config: TinyConfig) -> None:
    """Write the checkpoint and log its folders."""
    made = build_tiny(**vars(config))
    logger.info("wrote %s, %s and %s", made.zero123plus, made.svd, made.animatediff)


def plan(config: TinyConfig) -> str:
    """What ``--dry-run`` prints."""
    if Path(config.folder).exists():
        raise InputError(f"{config.folder}: exists already; choose another folder")
    with torch.random.fork_rng(devices=[]):
        networks = {
            "VAE": checkpoint_vae(config),
            "vision encoder": vision_encoder(config),
            "2D UNet": spatial_unet(config),
            "temporal UNet": temporal_unet(config),
            "motion adapter": motion_adapter(config),
        }
    lines = [
        f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters"
        for name, network in networks.items()
    ]
    return "\n".join([*lines, f"to {config.folder}"])


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TinyConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
