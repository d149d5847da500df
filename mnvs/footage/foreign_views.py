"""Multi-view videos of another generator, with their cameras, as a dataset of frame folders.

The folder holds one video (or GIF, or folder of pictures) per camera and ``cameras.json``, in the
form of NeRF's transforms files::

    {"camera_angle_x": 0.59, "fps": 7, "frames": [
        {"file_path": "view_00.mp4", "transform_matrix": [[…], …]},
        {"file_path": "view_01", "transform_matrix": [[…], …], "split": "test"}]}

Poses are camera-to-world with OpenGL axes, in any world whose up is +Z; intrinsics as usual
(``camera_angle_x``, or ``fl_x`` and so on), for all or for each camera. Videos must be equally long
and large. Views of the split ``test`` are held out; without any, the training views are judged.

The object is moved to the origin and scaled to about length 1, as PAPR's settings expect: the
origin is the point nearest to all optical axes, the scale comes from the masks.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.frames_of_sixview import TEST_VIEWS, write_split
from blender_render.dataset.picture_files import require_size
from blender_render.geometry.cameras import Camera
from blender_render.geometry.pose_checks import common_aim, looks_inverted, stack_poses
from mnvs.footage.cut_out_footage import matte
from mnvs.footage.input_reader import read_footage
from mnvs.footage.video_frames import FrameChoice
from training_core.checks import at_least
from training_core.config import InputError, option
from training_core.files.atomic import publish_directory

logger = logging.getLogger(__name__)

CAMERAS_FILE = "cameras.json"


@dataclass
class ViewsConfig:
    """How another generator's videos are read."""

    background: str = option(
        "auto", "as prepare.background, for every view", choices=("auto", "alpha", "border")
    )
    start: int = option(0, "first frame to take")
    stride: int = option(1, "take every n-th frame")
    frames: int = option(0, "how many; 0 = all")

    def validate(self) -> None:
        """Raises ValueError on counts that take nothing."""
        at_least(0, start=self.start, frames=self.frames)
        at_least(1, stride=self.stride)


@dataclass(frozen=True, eq=False)
class ForeignViews:
    """Pictures [V, T, H, W, 4] uint8 of V cameras, and which of them are held out."""

    pictures: Tensor
    cameras: tuple[Camera, ...]
    held_out: tuple[bool, ...]
    fps: float
    world_to_asset: dict[str, Any]
    doubts: tuple[str, ...]


def read_foreign_views(folder: Path, config: ViewsConfig) -> ForeignViews:
    """Read, cut out and bring into our world.

    Raises:
        InputError: the camera file or a video is missing, damaged or does not fit.
    """
    entries, shared = _entries(folder)
    videos, doubts = [], []
    fps = shared["fps"] / config.stride if "fps" in shared else None
    for entry in entries:
        path = folder / entry["file_path"]
        footage = read_footage(path, FrameChoice(config.frames, config.start, config.stride))
        rgba, method, doubted = matte(footage, config.background)
        logger.info("%s: %d frames, background: %s", path, len(rgba), method)
        doubts += [f"{path}: {doubt}" for doubt in doubted]
        videos.append((rgba.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).movedim(1, -1))
        fps = fps or footage.fps
    sizes = {tuple(video.shape[:3]) for video in videos}
    if len(sizes) > 1:
        raise InputError(f"{folder}: videos differ in length or size: {sorted(sizes)}")
    height, width = videos[0].shape[1:3]
    cameras = []
    for index, entry in enumerate(entries):
        where = f"{folder / CAMERAS_FILE}: frame {index} ({entry['file_path']})"
        camera = fmt.camera_from_dict({**shared, **entry}, (width, height), where)
        require_size(where, (width, height), (camera.width, camera.height), "its camera")
        cameras.append(camera)
    pictures = torch.stack(videos)
    moved, world = _into_our_world(folder, pictures, cameras)
    held_out = tuple(entry.get("split", "train") == "test" for entry in entries)
    return ForeignViews(pictures, moved, held_out, float(fps or 7.0), world, tuple(doubts))


def write_foreign_views(folder: Path, target: Path, config: ViewsConfig) -> None:
    """Write the dataset ``target``; it appears whole, in place of an older one."""
    views = read_foreign_views(folder, config)
    for doubt in views.doubts:
        logger.warning("the mask is doubtful: %s", doubt)
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    train = [i for i, held_out in enumerate(views.held_out) if not held_out]
    test = [i for i, held_out in enumerate(views.held_out) if held_out]
    kind = "held out" if test else "train"
    frames = views.pictures.shape[1]
    for time in range(frames):
        for split, chosen in (("train", train), ("test", test or train)):
            pictures = views.pictures[chosen, time]
            frame = work / fmt.frame_name(time)
            write_split(frame, split, pictures, [views.cameras[i] for i in chosen])
    info = {
        "asset": folder.name,
        "source": "views of another generator",
        "frames": list(range(frames)),
        "fps": views.fps,
        "resolution": [views.cameras[0].width, views.cameras[0].height],
        "world_to_asset": views.world_to_asset,
        "test": kind,
        "test_views": TEST_VIEWS[kind],
    }
    fmt.write_dataset_info(work, info)
    fmt.mark_complete(work, fmt.config_hash(dataclasses.asdict(config)))
    shutil.rmtree(target, ignore_errors=True)
    publish_directory(work, target)


def _entries(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The cameras of the file, and the keys that all of them share."""
    where = folder / CAMERAS_FILE
    with open_tree(folder) as tree:
        shared = tree.read_json(CAMERAS_FILE)
    entries = shared.pop("frames", None)
    if not isinstance(entries, list) or len(entries) < 2:
        raise InputError(f"{where}: 'frames' must list at least two cameras")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise InputError(f"{where}: frame {index}: key 'file_path' is missing")
        if entry.get("split", "train") not in ("train", "test"):
            raise InputError(f"{where}: frame {index}: 'split' must be train or test")
        if not (folder / entry["file_path"]).exists():
            raise InputError(f"{folder / entry['file_path']}: does not exist")
    if sum(entry.get("split", "train") == "train" for entry in entries) < 2:
        raise InputError(f"{where}: at least two cameras must be of the split train")
    fps = shared.get("fps", 1.0)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not fps > 0:
        raise InputError(f"{where}: 'fps' must be a positive number, is {fps!r}")
    return entries, shared


def _into_our_world(
    folder: Path, pictures: Tensor, cameras: list[Camera]
) -> tuple[tuple[Camera, ...], dict[str, Any]]:
    """The cameras around the origin, lengths divided by the object's; and the way back."""
    masks = (pictures[..., 3] >= 128).any(1).numpy()  # of all frames together
    if looks_inverted(cameras, list(masks)):
        raise InputError(f"{folder}: the poses are inverted: camera-to-world is expected")
    centre = common_aim(stack_poses(cameras)).point
    sides = [
        max(np.ptp(line) + 1 for line in np.nonzero(mask)) / camera.fl_x * _distance(camera, centre)
        for mask, camera in zip(masks, cameras, strict=True)
        if mask.any()
    ]
    if not sides or not np.isfinite(sides).all() or min(sides) <= 0.0:
        raise InputError(f"{folder}: no object in front of the cameras")
    scale = float(max(sides))
    moved = []
    for camera in cameras:
        pose = camera.cam_to_world.copy()
        pose[:3, 3] = (pose[:3, 3] - centre) / scale
        moved.append(dataclasses.replace(camera, cam_to_world=pose))
    return tuple(moved), {"scale": scale, "offset": [float(x) for x in centre]}


def _distance(camera: Camera, point: np.ndarray) -> float:
    """Of a point from the camera, along its axis."""
    return float((point - camera.position) @ camera.forward)
