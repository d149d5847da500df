"""Datasets as tensors: multi-view folders (ours and NeRF-synthetic) and six-view videos.

Poses are camera-to-world with OpenGL axes; images are float RGBA in [0, 1] with straight alpha,
row 0 on top; depth is planar, in scene units, 0 = no surface. Everything that is wrong with the
data ends in an InputError of one line that names the file and the fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import Tree, open_tree
from blender_render.dataset.camera_json import frame_entry
from blender_render.dataset.picture_files import (
    camera_of,
    common_size,
    image_file,
    read_picture,
    require_size,
    view_name,
)
from blender_render.dataset.transforms import (
    describe_notes,
    elsewhere,
    has_pictures,
    read_transforms,
)
from blender_render.geometry.cameras import Camera
from blender_render.imaging.depth import decode_depth
from blender_render.imaging.images import decode_rgba
from blender_render.imaging.resize import resize_depth, resize_rgba
from training_core.config import InputError


@dataclass(frozen=True, eq=False)
class Views:
    """The images of one split of one frame.

    Attributes:
        images: [N, H, W, 4] float32 in [0, 1], straight alpha.
        cameras: N cameras of H x W images.
        depth: [N, H, W] float32, planar, scene units, 0 = no surface; None where there is none.
        names: N names as written in the JSON file, such as "train/000".
        redrawn: indices into ``images`` of those that were made out of the others.
    """

    images: Tensor
    cameras: tuple[Camera, ...]
    depth: Tensor | None
    names: tuple[str, ...]
    redrawn: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.cameras)

    def followed_by(self, others: Views) -> Views:
        """These images and then others of the same size, without depth."""
        return Views(
            torch.cat([self.images, others.images]),
            self.cameras + others.cameras,
            None,
            self.names + others.names,
            self.redrawn + tuple(len(self) + own for own in others.redrawn),
        )

    def composite(self, background: float | Sequence[float]) -> Tensor:
        """RGB [N, H, W, 3] over a grey level or an RGB colour in [0, 1]."""
        return composite(self.images, background)


def composite(rgba: Tensor, background: float | Sequence[float] | Tensor) -> Tensor:
    """Straight-alpha RGBA [..., 4] over a grey level or an RGB colour → RGB [..., 3]."""
    colour = torch.as_tensor(background, dtype=rgba.dtype, device=rgba.device).expand(3)
    return torch.lerp(colour, rgba[..., :3], rgba[..., 3:])


def read_views(
    path: str | Path,
    split: str,
    *,
    resolution: tuple[int, int] | None = None,
    with_depth: bool = True,
    no_alpha: str = "refuse",
    split_seed: int = 0,
) -> Views:
    """Read one split of a frame folder (or of a NeRF-synthetic folder, or inside a .zip).

    Args:
        resolution: (width, height) to which images are resized by area averaging; intrinsics
            follow. None keeps the size on disk, or the commonest where they differ.
        with_depth: read the depth images if the split has them.
        no_alpha: what to take for the object in images without alpha, see
            ``blender_render.imaging.pictures.with_alpha``.
        split_seed: see ``read_transforms``.

    Raises:
        InputError: anything missing, damaged or inconsistent, an empty split, or a dataset whose
            writer has not finished.
    """
    with open_tree(path) as tree:
        _refuse_unfinished(tree)
        meta, frames = read_transforms(tree, split, split_seed)
        where = tree.label(fmt.transforms_file(split))
        entries = [frame_entry(meta, frame) for frame in frames]
        files = [image_file(tree, entry) for entry in entries]
        notes: list[str] = []
        pictures: list[npt.NDArray[np.uint8]] = []
        cameras: list[Camera] = []
        for index, (entry, name) in enumerate(zip(entries, files, strict=True)):
            pixels = read_picture(tree, entry, name, no_alpha)
            place = f"{where}: frame {index} ({name})"
            cameras.append(camera_of(entry, pixels, tree.label(name), place, notes))
            pictures.append(pixels)
        describe_notes(where, notes)
        width, height = resolution or common_size(pictures, where)
        images = torch.empty(len(frames), height, width, 4)
        for index in range(len(frames)):
            # One after the other, so that both forms of all are never in memory together.
            pixels, pictures[index] = pictures[index], np.empty((0, 0, 4), np.uint8)
            images[index] = resize_rgba(torch.from_numpy(pixels).float() / 255.0, width, height)
        depth: Tensor | None = None
        if with_depth and any(entry.get("depth_path") is not None for entry in entries):
            depth = torch.empty(len(frames), height, width)
            for index, (entry, camera) in enumerate(zip(entries, cameras, strict=True)):
                found = (camera.width, camera.height)
                depth[index] = resize_depth(_read_depth(tree, entry, where, found), width, height)
    resized = [
        c if (c.width, c.height) == (width, height) else c.resized(width, height) for c in cameras
    ]
    return Views(images, tuple(resized), depth, tuple(view_name(name) for name in files))


def _read_depth(tree: Tree, entry: dict[str, Any], where: str, size: tuple[int, int]) -> Tensor:
    if not isinstance(entry.get("depth_path"), str):
        raise InputError(f"{where}: {entry['file_path']}: key 'depth_path' is missing")
    scale = entry.get("depth_scale")
    if not isinstance(scale, int | float) or not scale > 0:
        raise InputError(f"{where}: 'depth_scale' must be a positive number, is {scale!r}")
    rel = entry["depth_path"]
    depth = torch.from_numpy(decode_depth(tree.read_bytes(rel), scale, tree.label(rel)))
    require_size(tree.label(rel), (depth.shape[1], depth.shape[0]), size, "its picture")
    return depth


def _refuse_unfinished(tree: Tree) -> None:
    """A dataset whose writer did not finish is never read as one."""
    for path, root in zip((tree.path, tree.path.parent), tree.roots(), strict=False):
        started = any((root / name).is_file() for name in (fmt.DATASET_FILE, fmt.SAMPLE_FILE))
        if started and not (root / fmt.COMPLETE_FILE).is_file():
            raise InputError(f"{path}: incomplete dataset ({fmt.COMPLETE_FILE} is missing)")


def list_frames(dataset: str | Path) -> list[str]:
    """Names of the frame folders in order of frame number.

    A folder that holds a split itself (NeRF-synthetic, or one frame) counts as one frame, "".

    Raises:
        InputError: no frame is there.
    """
    with open_tree(dataset) as tree:
        names = [n for n in tree.list() if fmt.frame_number(n) is not None]
        if not names and has_pictures(tree):
            return [""]
        if not names:
            raise InputError(f"{dataset}: holds no frame folders (frame_000, ...){elsewhere(tree)}")
    return sorted(names, key=lambda n: (fmt.frame_number(n) or 0, n))


def read_dataset_info(dataset: str | Path) -> dict[str, Any]:
    """Content of ``dataset.json`` of a complete dataset.

    Raises:
        InputError: the file is missing, broken or of an unknown version, lacks a key of
            ``DATASET_KEYS``, or the dataset is not complete.
    """
    return _read_info(dataset, fmt.DATASET_FILE, fmt.DATASET_KEYS)


def found_info(dataset: str | Path) -> dict[str, Any]:
    """Content of ``dataset.json`` as it is; {} where there is none, as in data of others.

    Raises:
        InputError: it is no JSON object, or nothing is there.
    """
    with open_tree(dataset) as tree:
        there = tree.exists(fmt.DATASET_FILE)
        return tree.read_json(fmt.DATASET_FILE) if there else {}


def _read_info(path: str | Path, rel: str, keys: Sequence[str]) -> dict[str, Any]:
    with open_tree(path) as tree:
        info = tree.read_json(rel)
        where = tree.label(rel)
        for key in keys:
            if key not in info:
                raise InputError(f"{where}: key {key!r} is missing")
        if info["schema_version"] != fmt.SCHEMA_VERSION:
            raise InputError(
                f"{where}: schema version {info['schema_version']!r} is not {fmt.SCHEMA_VERSION}"
            )
        if not tree.exists(fmt.COMPLETE_FILE):
            raise InputError(f"{path}: incomplete dataset ({fmt.COMPLETE_FILE} is missing)")
    return info


@dataclass(frozen=True, eq=False)
class SixViewClip:
    """A six-view video, images as stored (8 bit, straight alpha) to stay small in memory.

    Attributes:
        input: [T, H, W, 4] uint8, the input view.
        views: [6, T, H, W, 4] uint8, in tile order.
        input_camera, cameras: of the input and of the six views.
        info: content of ``sample.json``.
    """

    input: Tensor
    views: Tensor
    input_camera: Camera
    cameras: tuple[Camera, ...]
    info: dict[str, Any]

    def __len__(self) -> int:
        return len(self.input)

    def resized_input(self, height: int) -> Tensor:
        """Input view [T, height, w, 4] float32 in [0, 1]; the aspect is kept."""
        return torch.stack([self._resized(frame, height) for frame in self.input])

    def resized_views(self, height: int) -> Tensor:
        """The six views [T, 6, height, w, 4] float32 in [0, 1]; the aspect is kept."""
        views = [[self._resized(frame, height) for frame in view] for view in self.views]
        return torch.stack([torch.stack(view) for view in views], dim=1)

    @staticmethod
    def _resized(image: Tensor, height: int) -> Tensor:
        width = max(1, round(image.shape[1] * height / image.shape[0]))
        return resize_rgba(image.float() / 255.0, width, height)


def read_sample_info(path: str | Path) -> dict[str, Any]:
    """Content of ``sample.json`` of a complete six-view video; see ``read_dataset_info``."""
    info = _read_info(path, fmt.SAMPLE_FILE, fmt.SAMPLE_KEYS)
    fmt.check_rig(info["rig"], f"{path}/{fmt.SAMPLE_FILE}")
    return info


def read_sixview(path: str | Path, frames: Sequence[int] | None = None) -> SixViewClip:
    """Read ``frames`` (None = all) of a complete six-view video from a folder or a .zip.

    Raises:
        InputError: anything missing, damaged or inconsistent, or an unfinished dataset.
    """
    info = read_sample_info(path)
    with open_tree(path) as tree:
        where = tree.label(fmt.SAMPLE_FILE)
        entries = [info["input"], *(info["views"] if isinstance(info["views"], list) else [])]
        if len(entries) != 7 or not all(
            isinstance(e, dict) and isinstance(e.get("camera"), dict) for e in entries
        ):
            raise InputError(f"{where}: 'input' and six 'views' with a 'camera' each are expected")
        count = info["num_frames"]
        if type(count) is not int or count < 1:  # True is an int, too
            raise InputError(f"{where}: 'num_frames' must be a positive whole number, is {count!r}")
        folders = [fmt.INPUT_FOLDER, *(fmt.view_folder(i) for i in range(6))]
        cameras = [
            fmt.camera_from_dict(entry["camera"], None, f"{where}: {folder}")
            for folder, entry in zip(folders, entries, strict=True)
        ]
        wanted = range(count) if frames is None else frames
        clips = [_read_clip(tree, f, wanted, c) for f, c in zip(folders, cameras, strict=True)]
    if any(clip.shape != clips[1].shape for clip in clips[2:]):
        raise InputError(f"{where}: the six views differ in size")
    return SixViewClip(clips[0], torch.stack(clips[1:]), cameras[0], tuple(cameras[1:]), info)


def _read_clip(tree: Tree, folder: str, times: Sequence[int], camera: Camera) -> Tensor:
    """Images [T, H, W, 4] uint8 of one view; each must have its camera's size."""
    clip: list[Tensor] = []
    wanted = (camera.width, camera.height)
    for time in times:
        rel = f"{folder}/{fmt.image_name(time)}.png"
        pixels = decode_rgba(tree.read_bytes(rel), tree.label(rel))
        found = (pixels.shape[1], pixels.shape[0])
        require_size(tree.label(rel), found, wanted, fmt.SAMPLE_FILE)
        clip.append(torch.from_numpy(pixels.copy()))
    return torch.stack(clip)
