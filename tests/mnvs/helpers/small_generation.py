"""A checkpoint as small as it can be, and the arguments of a generation from it."""

from pathlib import Path
from typing import Any

from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint

SMALL = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 32}


def arguments(tiny: TinyCheckpoint, given: Path, target: Path, /, **changes: Any) -> list[str]:
    settings = {
        "input": given,
        "output": target,
        "device": "cpu",
        "threads": 1,
        "model.zero123plus": tiny.zero123plus,
        "model.temporal_source": tiny.svd,
        "sampling.steps": 2,
        "clip.frames": 2,
    }
    return [f"{key}={value}" for key, value in (settings | changes).items()]
