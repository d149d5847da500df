"""Reading the input of generation: an image, a video, a folder of images, a six-view dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.readers import read_sample_info
from blender_render.imaging.images import decode_rgba
from mnvs.footage.image_transforms import to_rgba
from mnvs.footage.still_images import ImageFile, read_image
from mnvs.footage.video_frames import FrameChoice, read_video, refuse_too_much
from training_core.config import InputError
from training_core.files.natural_order import natural_key

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")


@dataclass(frozen=True, eq=False)
class Footage:
    """Images [T, 4, H, W], straight-alpha RGBA in [0, 1]; ``fps`` None if not known, ``name`` for
    messages.
    """

    images: Tensor
    fps: float | None
    name: str = "the input"

    @property
    def opaque(self) -> bool:
        """Whether no image has any transparency."""
        return bool((self.images[:, 3] >= 1.0).all())


def read_footage(path: str | Path, choice: FrameChoice = FrameChoice()) -> Footage:  # noqa: B008
    """Read an image, animated or not, a video file, a folder of images in natural order of their
    names, or a six-view dataset (folder or .zip; its input view). Frames that are not chosen are
    not decoded, and large ones are reduced on the way.

    Raises:
        InputError: it is missing, damaged, too large, none of these, or has too few frames.
    """
    return replace(_read(Path(path), choice), name=str(path))


def _read(path: Path, choice: FrameChoice) -> Footage:
    kind = path.suffix.lower()
    if path.is_file() and kind in IMAGES:
        return _read_image_file(path, choice)
    if path.is_file() and kind in VIDEOS:
        images, fps = read_video(path, choice)
        return _footage(to_rgba(images), fps, choice)
    if path.is_file() and kind != ".zip":
        heic = "; a HEIC image must be saved as PNG or JPEG" if kind in (".heic", ".heif") else ""
        raise InputError(f"{path}: not one of {' '.join((*IMAGES, *VIDEOS, '.zip'))}{heic}")
    with open_tree(path) as tree:
        if tree.exists(fmt.SAMPLE_FILE):
            return _read_dataset(path, choice)
    if not path.is_dir() or not (names := image_names(path)):
        raise InputError(f"{path}: neither a six-view dataset nor a folder of images")
    chosen = [path / names[i] for i in choice.numbers(len(names), path)]
    return _footage(_stack(chosen, map(read_image, chosen)), None, choice)


def image_names(folder: Path) -> list[str]:
    """Names of the images in a folder in natural order; hidden files, such as the ``._a.png`` that
    macOS leaves beside ``a.png``, are none.
    """
    names = (entry.name for entry in folder.iterdir() if entry.is_file())
    images = [n for n in names if Path(n).suffix.lower() in IMAGES and not n.startswith(".")]
    return sorted(images, key=natural_key)


def _footage(images: Tensor, fps: float | None, choice: FrameChoice) -> Footage:
    one = choice.one_is_enough and len(images) == 1
    return Footage(images, fps if fps is None or one else fps / choice.stride)


def _read_image_file(path: Path, choice: FrameChoice) -> Footage:
    with ImageFile(path) as file:
        frames = choice.numbers(file.count, path)
        refuse_too_much(len(frames), *file.size, path)
        images, fps = file.read(frames)
    return _footage(_stack([path] * len(images), images), fps, choice)


def _read_dataset(path: Path, choice: FrameChoice) -> Footage:
    info = read_sample_info(path)
    total = info["num_frames"]
    if not isinstance(total, int) or total < 1:
        raise InputError(f"{path}: 'num_frames' must be a positive whole number, is {total!r}")
    names = [f"{fmt.INPUT_FOLDER}/{fmt.image_name(i)}.png" for i in choice.numbers(total, path)]
    with open_tree(path) as tree:
        pixels = (decode_rgba(tree.read_bytes(name), tree.label(name)) for name in names)
        images = (torch.from_numpy(p.copy()).movedim(-1, 0).float() / 255.0 for p in pixels)
        stacked = _stack([path / name for name in names], images)
    fps = info.get("fps")
    known = float(fps) if isinstance(fps, int | float) and fps > 0 else None
    return _footage(stacked, known, choice)


def _stack(files: Sequence[Path], images: Iterable[Tensor]) -> Tensor:
    """[T, 4, H, W] of images that must be of one size. They are taken one by one, so that only
    the last ones are in memory beside the result, and only the first where all are too much.
    """
    stacked = torch.empty(0)
    for index, (file, image) in enumerate(zip(files, images, strict=True)):
        height, width = image.shape[1:]
        if index == 0:
            refuse_too_much(len(files), width, height, file.parent)
            stacked = torch.empty(len(files), *image.shape)
        if image.shape != stacked.shape[1:]:
            raise InputError(
                f"{file}: is {width}x{height}, but {files[0].name} is "
                f"{stacked.shape[3]}x{stacked.shape[2]}; images of one size are expected"
            )
        stacked[index] = image
    return stacked
