"""The sparse-view task: training images of which there are only a few.

Either the six views of one moment of a six-view video, as phase 1 makes them, or a few views of a
multi-view frame. Validation and test views stay those of ``data.path``.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import (
    Views,
    list_frames,
    read_dataset_info,
    read_sample_info,
    read_sixview,
)
from blender_render.dataset.same_world import check_same_world
from blender_render.dataset.sixview_depth import read_depth
from blender_render.imaging.resize import resize_depth, resize_rgba
from blender_render.rendering.frames import TOLERANCE
from sjc_papr.data.config import DataConfig, SparseConfig
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.loading import load_training_views
from training_core.config import ConfigError, InputError

logger = logging.getLogger(__name__)


def sparse_views(config: SparseConfig, data: DataConfig) -> Views:
    """The training views, at the resolution of ``data`` (both numbers zero = as on disk).

    Raises:
        ConfigError: more views are asked for than there are.
        InputError: images that cannot be read, or a six-view video of another world.
    """
    if config.kind == "sixview":
        return _six_views(config, data)
    views = load_training_views(data, Path(data.path))
    if config.kind == "all":
        return views
    if config.count > len(views):
        raise ConfigError(
            f"sparse.count: {config.count} views are asked for, but {data.path} has {len(views)} "
            "training views"
        )
    generator = torch.Generator().manual_seed(config.seed)
    choose = _by_lot if config.kind == "random" else _far_apart
    chosen = choose(views, config.count, generator)
    logger.info("%d of %d training views: %s", len(chosen), len(views), chosen)
    return pick_views(views, chosen)


def _by_lot(views: Views, count: int, generator: torch.Generator) -> list[int]:
    return sorted(torch.randperm(len(views), generator=generator)[:count].tolist())


def _far_apart(views: Views, count: int, generator: torch.Generator) -> list[int]:
    """A first view by lot, then always the one whose direction is farthest from those chosen."""
    towards = torch.tensor(np.stack([camera.forward for camera in views.cameras]))
    chosen = [int(torch.randint(len(views), (1,), generator=generator))]
    closest = towards @ towards[chosen[0]]
    while len(chosen) < count:
        closest[chosen] = torch.inf
        chosen.append(int(closest.argmin()))
        closest = torch.maximum(closest, towards @ towards[chosen[-1]])
    return sorted(chosen)


def _six_views(config: SparseConfig, data: DataConfig) -> Views:
    info = read_sample_info(config.sixview)
    frames = info["num_frames"]
    if isinstance(frames, int) and config.frame >= frames:
        raise InputError(
            f"{config.sixview}: frame {config.frame} is asked for, but the video has {frames}"
        )
    if config.check_world and data.path:
        _refuse_another_world(config, info, Path(data.path))
    clip = read_sixview(config.sixview, [config.frame])
    images, cameras = clip.views[:, 0].float() / 255.0, clip.cameras
    if data.width:
        size = data.width, data.height
        images = torch.stack([resize_rgba(image, *size) for image in images])
        cameras = tuple(camera.resized(*size) for camera in cameras)
    depth = None
    if config.depth:
        depth = read_depth(config.sixview, [config.frame])[:, 0]
        if data.width:
            depth = torch.stack([resize_depth(own, data.width, data.height) for own in depth])
    name = fmt.image_name(config.frame)
    return Views(images, cameras, depth, tuple(f"{fmt.view_folder(i)}/{name}" for i in range(6)))


def _refuse_another_world(config: SparseConfig, sample: dict[str, Any], frame: Path) -> None:
    """Images and held-out poses must belong to one object, in one world, at one moment."""
    hint = "; sparse.check_world=false trusts that they belong together"
    video, folder = f"{config.sixview}/{fmt.SAMPLE_FILE}", f"{frame.parent}/{fmt.DATASET_FILE}"
    try:
        dataset = read_dataset_info(frame.parent)
        check_same_world(sample, video, dataset, folder)
    except InputError as error:
        raise InputError(f"{error}{hint}") from None
    shown, held_out = _moment(sample, config.frame), _moment(dataset, _position(frame))
    if shown is not None and held_out is not None and abs(shown - held_out) > TOLERANCE:
        raise InputError(
            f"{video}: frame {config.frame} shows animation frame {shown:g}, but {frame} shows "
            f"{held_out:g}{hint}"
        )


def _position(frame: Path) -> int:
    """Place of a frame folder among those of its dataset."""
    return [Path(name).name for name in list_frames(frame.parent)].index(frame.name)


def _moment(info: dict[str, Any], index: int) -> float | None:
    """Animation frame of a dataset's ``index``-th moment; None where it is not said."""
    times = info.get("frames")
    if not isinstance(times, list) or index >= len(times):
        return None
    return float(times[index]) if isinstance(times[index], int | float) else None
