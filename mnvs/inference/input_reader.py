"""Reading the input of generation: an image, a video, a folder of images, a six-view dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import torch
from PIL import Image
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.readers import read_sixview
from blender_render.imaging.images import DECODE_ERRORS
from mnvs.inference.image_transforms import to_rgba
from training_core.config import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
_GIF = ".gif"


@dataclass(frozen=True, eq=False)
class Footage:
    """Images [T, 4, H, W], straight-alpha RGBA in [0, 1]; ``fps`` None if not known."""

    images: Tensor
    fps: float | None

    def take(self, count: int, start: int = 0, stride: int = 1) -> Footage:
        """Every ``stride``-th frame from ``start`` on, ``count`` of them; 0 = all.

        Raises:
            InputError: there are not that many.
        """
        frames = list(range(start, len(self.images), stride))[: count or None]
        if not frames or len(frames) < count:
            raise InputError(
                f"the input has {len(self.images)} frames: too few for {count or 1} "
                f"from number {start} in steps of {stride}"
            )
        fps = None if self.fps is None else self.fps / stride
        return Footage(self.images[frames], fps)


def read_footage(path: str | Path) -> Footage:
    """Read an image, a video file, a folder of images in order of name, or a six-view dataset
    (folder or .zip; its input view).

    Raises:
        InputError: it is missing, damaged, or none of these.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if path.is_file() and kind in IMAGES:
        return Footage(to_rgba(_image(path)), None)
    if path.is_file() and kind == _GIF:
        return _read_gif(path)
    if path.is_file() and kind in VIDEOS:
        return _read_video(path)
    if path.is_file() and kind != ".zip":
        known = " ".join((*IMAGES, *VIDEOS, _GIF, ".zip"))
        raise InputError(f"{path}: not one of {known}")
    with open_tree(path) as tree:
        if tree.exists(fmt.SAMPLE_FILE):
            return _read_dataset(path)
        names = [name for name in tree.list() if Path(name).suffix.lower() in IMAGES]
    if not path.is_dir() or not names:
        raise InputError(f"{path}: neither a six-view dataset nor a folder of images")
    return Footage(to_rgba([_image(path / name) for name in names]), None)


def _image(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except DECODE_ERRORS as error:
        raise InputError(f"{path}: damaged image ({error})".splitlines()[0]) from None
    return image


def _read_gif(path: Path) -> Footage:
    image = _image(path)
    frames, milliseconds = [], []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        frames.append(image.convert("RGBA"))
        milliseconds.append(float(image.info.get("duration", 0)))
    mean = sum(milliseconds) / len(milliseconds)
    return Footage(to_rgba(frames), 1000.0 / mean if mean > 0 else None)


def _read_video(path: Path) -> Footage:
    try:
        pixels = imageio.imread(path, plugin="FFMPEG")
        fps = imageio.immeta(path, plugin="FFMPEG").get("fps")
    except Exception as error:  # decoders raise anything on a damaged file
        raise InputError(f"{path}: unreadable video ({str(error).splitlines()[0]})") from error
    video = torch.from_numpy(pixels).movedim(-1, 1).float() / 255.0
    return Footage(to_rgba(video), float(fps) if fps else None)


def _read_dataset(path: Path) -> Footage:
    clip = read_sixview(path)
    fps = clip.info.get("fps")
    video = clip.input.movedim(-1, 1).float() / 255.0
    return Footage(video, float(fps) if isinstance(fps, int | float) and fps > 0 else None)
