"""Writing views of a moving body from many sides as a dataset of frame folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.frames_of_sixview import write_split
from blender_render.dataset.tracks import write_tracks
from blender_render.geometry.cameras import Camera
from blender_render.imaging.images import to_uint8
from training_core.files.atomic import new_directory


class SplitViews(NamedTuple):
    """What N cameras that stand still see of T moments.

    Attributes:
        pictures: [T, N, 4, H, W], straight-alpha RGBA in [0, 1], on the CPU.
        cameras: N, of one size and lens.
    """

    pictures: Tensor
    cameras: Sequence[Camera]


def write_multiview_dataset(
    target: Path,
    splits: Mapping[str, SplitViews],
    *,
    fps: float,
    config_hash: str,
    info: Mapping[str, Any] | None = None,
    tracks: Tensor | None = None,
) -> None:
    """Write frame folders, `dataset.json` and the completion marker; the folder appears whole.

    Args:
        target: must not exist, or be an empty folder.
        splits: by name (train, val, test), all of the same moments.
        config_hash: of what the dataset was made from, for its marker.
        info: further keys of `dataset.json`.
        tracks: [T, N, 3], paths of surface points; None = they are not known.

    Raises:
        InputError: the target holds something.
        ValueError: splits of different length, or no four channels.
    """
    counts = {len(views.pictures) for views in splits.values()}
    if len(counts) != 1 or any(v.pictures.shape[2] != 4 for v in splits.values()):
        raise ValueError(f"splits of {sorted(counts)} moments, or pictures that are not RGBA")
    moments = counts.pop()
    with new_directory(target) as work:
        for name, views in splits.items():
            pixels = torch.from_numpy(to_uint8(views.pictures.float().movedim(2, -1).cpu()))
            for time in range(moments):
                write_split(work / fmt.frame_name(time), name, pixels[time], views.cameras)
        camera = next(iter(splits.values())).cameras[0]
        written = {
            "frames": list(range(moments)),
            "world_to_asset": {"scale": 1.0, "offset": [0.0, 0.0, 0.0]},
            "fps": fps,
            "resolution": [camera.width, camera.height],
        }
        fmt.write_dataset_info(work, written | dict(info or {}))
        if tracks is not None:
            write_tracks(work, tracks.numpy())
        fmt.mark_complete(work, config_hash)
