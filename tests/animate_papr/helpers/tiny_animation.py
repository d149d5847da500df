"""A sphere that moves over three frames, and the command that animates it."""

from pathlib import Path

import numpy as np

# The scene of the tests of one frame, and their helpers, which tests import from here.
from kill_runs import assert_same_checkpoint, beyond, end_when, logged_steps
from tiny_scene import RADIUS, SIZE, TINY_MODEL, one_view, small_model, write_frame

from blender_render.dataset import format as fmt
from blender_render.dataset.tracks import write_tracks
from blender_render.geometry.cameras import fibonacci_sphere

__all__ = [
    "FIRST_STEPS",
    "FRAMES",
    "NEXT_STEPS",
    "RISE",
    "arguments",
    "assert_same_checkpoint",
    "beyond",
    "end_when",
    "logged_steps",
    "one_view",
    "small_model",
    "write_animation",
]

FRAMES = ("frame_000", "frame_001", "frame_002")
FIRST_STEPS, NEXT_STEPS = 60, 30
RISE = 0.06


def write_animation(folder: Path) -> Path:
    """A complete dataset: the sphere rises."""
    for i, name in enumerate(FRAMES):
        write_frame(folder / name, (0.0, 0.0, RISE * i))
    surface = RADIUS * fibonacci_sphere(100)
    write_tracks(
        folder, np.stack([np.add(surface, (0.0, 0.0, RISE * i)) for i in range(len(FRAMES))])
    )
    fmt.write_dataset_info(
        folder,
        {
            "frames": list(range(len(FRAMES))),
            "resolution": list(SIZE),
            "world_to_asset": {"scale": 2.0, "offset": [0.0, 0.0, 1.0]},
        },
    )
    fmt.mark_complete(folder, "sphere")
    return folder


def arguments(dataset: Path, output: Path, *more: str) -> list[str]:
    """Of ``animate_papr.train``."""
    return [
        *TINY_MODEL,
        f"data.path={dataset}",
        f"output_root={output}",
        "name=tiny",
        f"first.steps={FIRST_STEPS}",
        "first.patches.size=10",
        f"next.steps={NEXT_STEPS}",
        "next.patches.size=10",
        "log.every=1",
        "log.checkpoint_every=12",
        *more,
    ]
