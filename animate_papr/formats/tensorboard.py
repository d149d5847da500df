"""Points and mesh for TensorBoard's mesh tab, a step a frame."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

CAMERA = {"cls": "PerspectiveCamera", "fov": 40}


def write_tensorboard(
    folder: Path,
    points: Sequence[np.ndarray],
    rgb: Sequence[np.ndarray],
    mesh: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
) -> None:
    """Write an event file of its own; one from an earlier export goes.

    Args:
        points: for each frame [P, 3] in the run's world, +Z up. rgb: uint8 [P, 3] of each.
        mesh: vertices [T, V, 3], triangles [F, 3], rgb [V, 3] uint8; None = no mesh.
    """
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    display = {"camera": CAMERA}
    with SummaryWriter(str(folder)) as writer:
        for step, (cloud, colours) in enumerate(zip(points, rgb, strict=True)):
            writer.add_mesh(
                "points", _upright(cloud), _whole(colours), config_dict=display, global_step=step
            )
        if mesh is None:
            return
        vertices, triangles, colours = mesh
        faces = torch.from_numpy(triangles.astype(np.int32))[None]
        for step, moved in enumerate(vertices):
            writer.add_mesh(
                "mesh",
                _upright(moved),
                _whole(colours),
                faces,
                config_dict=display,
                global_step=step,
            )


def _upright(positions: np.ndarray) -> torch.Tensor:
    """[1, P, 3] with +Y up, as TensorBoard shows it: (x, y, z) becomes (x, z, -y)."""
    x, y, z = positions.T
    return torch.from_numpy(np.stack([x, z, -y], 1).astype(np.float32))[None]


def _whole(rgb: np.ndarray) -> torch.Tensor:
    """[1, P, 3] uint8."""
    return torch.from_numpy(np.ascontiguousarray(rgb, np.uint8))[None]
