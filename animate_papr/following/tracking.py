"""How far the points' motion is from the asset's own: errors at surface points of known paths.

A surface point is carried by the points of the cloud around it in the first frame, as the exported
mesh is (``moving_mesh.carry``). Its error in a later frame is the distance between where it is
carried and where the asset has it, in object lengths. The first frame's error is zero by
definition: only motion is judged here, shape is judged by depth and pictures.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from animate_papr.surface.moving_mesh import carry
from blender_render.dataset.readers import list_frames
from blender_render.dataset.tracks import TRACKS_FILE, read_tracks
from sjc_papr.data.world import World
from training_core.config import InputError

logger = logging.getLogger(__name__)

# Points of the cloud that carry a surface point: their median leaves out the few that are lost.
_CARRIERS = 8


class TrackError(NamedTuple):
    """Errors of one frame in object lengths.

    Attributes:
        mean, p90: mean and 90th percentile over the surface points.
        motion: mean way of these points from the first frame; the mean error of points that stay.
    """

    mean: float
    p90: float
    motion: float

    def figures(self) -> dict[str, float]:
        """As ``metrics.json`` has them."""
        return {f"track_{name}": value for name, value in self._asdict().items()}


def true_paths(dataset: Path, frames: Sequence[str], world: World) -> Tensor | None:
    """What ``read_paths`` reads; None, with a warning, where the dataset has no paths that fit."""
    try:
        return read_paths(dataset, frames, world)
    except InputError as error:
        logger.warning("tracking is not measured: %s", error)
        return None


def read_paths(dataset: Path, frames: Sequence[str], world: World) -> Tensor | None:
    """Paths [T, N, 3] of surface points over ``frames``, in the run's world; None where the dataset
    has none.

    Raises:
        InputError: the file is damaged, or of another number of frames.
    """
    tracks, names = read_tracks(dataset), list_frames(dataset)
    if tracks is None:
        return None
    if len(tracks) != len(names):
        raise InputError(
            f"{dataset} has {len(names)} frames, but its {TRACKS_FILE} is of {len(tracks)} frames"
        )
    chosen = torch.from_numpy(tracks)[[names.index(frame) for frame in frames]]
    return world.points(chosen)


def track_errors(
    clouds: Sequence[Tensor], influence: Tensor, paths: Tensor, scale: float = 1.0
) -> list[TrackError] | None:
    """The error of every frame; None where the number of points changes.

    Args:
        clouds: positions [P, 3] in each frame. influence: [P], of the first frame.
        paths: true positions [T, N, 3] in the same world. scale: its units in an object length.
    """
    if len({len(cloud) for cloud in clouds}) > 1 or not bool((influence > 0).any()):
        return None
    positions = torch.stack([cloud[influence > 0].float() for cloud in clouds])
    carried = carry(paths[0], positions, _CARRIERS)
    true = paths - paths[:1]
    apart, ways = ((offset.norm(dim=-1) / scale) for offset in (carried - true, true))
    return [
        TrackError(float(own.mean()), float(own.quantile(0.9)), float(way.mean()))
        for own, way in zip(apart, ways, strict=True)
    ]


def tracking_figures(
    folders: Sequence[Path], dataset: Path, frames: Sequence[str], world: World
) -> list[dict[str, float]]:
    """Figures of finished frames, ``TrackError.figures`` each; empty where nothing can be measured.

    Args:
        folders: of the frames, with their ``points.safetensors``. world: of the run.
    """
    paths = true_paths(dataset, frames, world) if len(frames) > 1 else None
    if paths is None:
        return []
    clouds = [load_file(folder / "points.safetensors") for folder in folders]
    positions = [cloud["positions"] for cloud in clouds]
    errors = track_errors(positions, clouds[0]["influence"], paths, world.scale)
    return [error.figures() for error in errors or []]
