"""The paths of all points in one file, as safetensors and as NumPy's .npz."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from blender_render.imaging.images import to_uint8
from sjc_papr.networks.point_cloud import PointRows
from training_core.files.atomic import tensor_bytes, write_bytes

TRAVELS = " + travel of the frame"
CONVENTION = "world is right-handed with +Z up; asset = world_to_asset @ [x, y, z, 1]"


def write_trajectories(
    path: Path,
    names: Sequence[str],
    frames: Sequence[PointRows],
    rgb: Sequence[torch.Tensor],
    matrix: np.ndarray,
    travel: np.ndarray | None = None,
) -> bool:
    """All frames in one safetensors file, where point i is the same point in each of them.

    Tensors: positions [T, P, 3] float32 in the run's world, influence [T, P], features
    [T, P, C], rgb [P, 3] or (one colour set per frame) [T, P, 3] uint8. Metadata: frames, and
    `world_to_asset`, a row-major 4x4 matrix. ``travel`` [T, 3] of a dataset that was rendered going
    along with the object becomes a tensor of that name, in the asset's units. Where the number of
    points changes between frames there are no trajectories: an older file goes, and the answer is
    False.
    """
    if len({len(f.positions) for f in frames}) > 1:
        path.unlink(missing_ok=True)
        return False
    colours = [torch.from_numpy(to_uint8(c)) for c in rgb]
    tensors = {
        "positions": torch.stack([f.positions for f in frames]).float(),
        "influence": torch.stack([f.influence for f in frames]).float(),
        "features": torch.stack([f.features for f in frames]).float(),
        "rgb": colours[0] if len(colours) == 1 else torch.stack(colours),
    }
    if travel is not None:
        tensors["travel"] = torch.from_numpy(travel)
    metadata = {
        "frames": " ".join(names),
        "world_to_asset": " ".join(repr(float(x)) for x in matrix.ravel()),
        "convention": CONVENTION + (TRAVELS if travel is not None else ""),
    }
    write_bytes(path, tensor_bytes(tensors, metadata))
    return True


def write_npz(
    path: Path,
    names: Sequence[str],
    positions: np.ndarray,
    rgb: np.ndarray,
    matrix: np.ndarray,
    travel: np.ndarray | None = None,
) -> None:
    """The same for ``numpy.load``: positions [T, P, 3] float32 in the run's world, rgb uint8
    as there, frames [T] (names), world_to_asset [4, 4], convention (a text); ``travel`` [T, 3]
    where given."""
    content = io.BytesIO()
    more = {} if travel is None else {"travel": travel}
    np.savez_compressed(
        content,
        positions=positions.astype(np.float32),
        rgb=rgb,
        frames=np.array(list(names), np.str_),
        world_to_asset=matrix,
        convention=np.array(CONVENTION + (TRAVELS if more else "")),
        **more,
    )
    write_bytes(path, content.getvalue())
