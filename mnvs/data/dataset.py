"""Clips of six-view videos for training, a pure function of seed, step and place in the batch."""

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.paths import dataset_paths
from blender_render.dataset.readers import read_sample_info, read_sixview
from blender_render.dataset.transforms import has_pictures
from blender_render.geometry.cameras import SIXVIEW_RIGS
from mnvs.data.tiles import pack_tile
from mnvs.encoders.vae_scaling import on_grey
from training_core.checks import at_least
from training_core.config import InputError, option

DEFAULT_FPS = 7.0


@dataclasses.dataclass
class DataConfig:
    paths: list[str] = option(
        [], "six-view datasets: folders, .zip files, folders of such, glob patterns, @FILE"
    )
    frames: int = option(8, "frames T of a clip")
    strides: list[int] = option([1], "a clip takes every n-th frame, n at random from these")
    random_start: bool = option(True, "clips start at a random frame, not at the video's first")
    view_size: int = option(320, "height of one view in pixels; a tile has 3 rows of 2 views")
    condition: str = option(
        "image",
        "input of the network: image = the input view's first frame, video = all its frames",
        choices=("image", "video"),
    )
    condition_size: int = option(320, "height of the input image in pixels")
    rig: str = option(
        "",
        "camera rig of the checkpoint; empty = the pipeline's own, v1.2 with zero123plus",
        choices=("", *SIXVIEW_RIGS),
    )
    cache: str = option("", "folder that keeps encoded frames between runs; empty = none")

    def validate(self) -> None:
        """Raises ValueError on numbers out of range."""
        at_least(1, frames=self.frames)
        at_least(16, view_size=self.view_size, condition_size=self.condition_size)
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"strides must be whole numbers of at least 1, are {self.strides}")


@dataclasses.dataclass(frozen=True)
class ClipRange:
    """Which frames of which video: ``frames`` counts from 0, ``fps`` is that of the clip."""

    video: int
    frames: tuple[int, ...]
    fps: float


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """T frames of one object, RGB over grey, float32 in [0, 1].

    Attributes:
        tiles: [T, 3, 3·h, 2·w], six views each (see ``mnvs.data.tiles``).
        condition: [Tc, 3, S, S'], the input view: all T frames (a video from a fixed camera), or
            the first alone (one image).
        fps: frames per second of the clip, its stride taken into account.
        name: of the dataset.
        frames: their numbers in the dataset.
    """

    tiles: Tensor
    condition: Tensor
    fps: float
    name: str
    frames: tuple[int, ...]


class SixViewDataset:
    """Six-view videos, read on demand.

    Args:
        paths: see ``blender_render.dataset.paths``.
        config: of the clips; its ``paths`` are not read.
        batch: clips per step over all processes; sets how steps run through the epochs.
        seed: of order, starts and strides.
        memory_bytes: limit of the decoded frames kept in memory.

    Raises:
        InputError: a dataset is unfinished, damaged, or shorter than a clip.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        config: DataConfig,
        *,
        batch: int = 1,
        seed: int = 0,
        memory_bytes: int = 1 << 29,
    ) -> None:
        if not paths:
            raise InputError("no six-view datasets are given")
        self.paths = dataset_paths(paths)
        self.infos = [_sample_info(path) for path in self.paths]
        self.config, self.batch, self.seed = config, batch, seed
        self.counts = [int(info["num_frames"]) for info in self.infos]
        for path, count in zip(self.paths, self.counts, strict=True):
            needed = (config.frames - 1) * min(config.strides) + 1
            if count < needed:
                raise InputError(f"{path}: has {count} frames, but clips need {needed}")
        self._memory_bytes = memory_bytes
        self._memory: OrderedDict[tuple[int, int], tuple[Tensor, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.paths)

    def name(self, video: int) -> str:
        """Name of a dataset: its folder or archive without ".zip"."""
        path = self.paths[video]
        return path.stem if path.suffix.lower() == ".zip" else path.name

    def fps(self, video: int) -> float:
        """Frames per second of a video; datasets without this figure count as SVD's usual 7."""
        fps = self.infos[video].get("fps")
        return float(fps) if isinstance(fps, int | float) and fps > 0 else DEFAULT_FPS

    def clip_range(self, step: int, index: int) -> ClipRange:
        """The frames of clip ``index`` of step ``step``.

        Every video comes once per epoch, each epoch in another random order; start and stride
        are random for each clip.
        """
        epoch, place = divmod(step * self.batch + index, len(self))
        order = torch.randperm(len(self), generator=self._generator("order", epoch))
        video = int(order[place])
        count, length = self.counts[video], self.config.frames
        generator = self._generator("clip", step, index)
        strides = [s for s in self.config.strides if (length - 1) * s < count]
        stride = strides[self._below(len(strides), generator)]
        last_start = count - 1 - (length - 1) * stride
        start = self._below(last_start + 1, generator) if self.config.random_start else 0
        frames = tuple(range(start, start + length * stride, stride))
        return ClipRange(video, frames, self.fps(video) / stride)

    def sample(self, step: int, index: int) -> Clip:
        """Clip ``index`` (0 … batch-1) of step ``step``: the same on every call and machine."""
        return self.read(self.clip_range(step, index))

    def whole(self, video: int) -> Clip:
        """The first T frames of a video, for validation."""
        frames = tuple(range(self.config.frames))
        return self.read(ClipRange(video, frames, self.fps(video)))

    def read(self, clip_range: ClipRange) -> Clip:
        """The images of a range of frames."""
        tiles, inputs = self.images(clip_range.video, clip_range.frames)
        condition = inputs[: self.condition_count(len(inputs))]
        return Clip(
            tiles, condition, clip_range.fps, self.name(clip_range.video), clip_range.frames
        )

    def alpha(self, video: int, frames: Sequence[int]) -> Tensor:
        """Opacity [T, 6, h, w] of the views of some frames, in [0, 1]; read anew at each call."""
        clip = read_sixview(self.paths[video], frames)
        return clip.resized_views(self.config.view_size)[..., 3]

    def images(self, video: int, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Tiles [T, 3, 3·h, 2·w] and input images [T, 3, S, S'] of some frames of a video."""
        self._load(video, frames)
        tiles, inputs = zip(*(self._memory[video, frame] for frame in frames), strict=True)
        self._forget()
        return torch.stack(tiles), torch.stack(inputs)

    def condition_count(self, num_frames: int) -> int:
        """Tc, the number of input images of a clip of ``num_frames``."""
        return num_frames if self.config.condition == "video" else 1

    def _load(self, video: int, frames: Sequence[int]) -> None:
        for frame in frames:
            if (video, frame) in self._memory:
                self._memory.move_to_end((video, frame))
        missing = [frame for frame in frames if (video, frame) not in self._memory]
        if not missing:
            return
        clip = read_sixview(self.paths[video], missing)
        tiles = pack_tile(on_grey(clip.resized_views(self.config.view_size)))
        inputs = on_grey(clip.resized_input(self.config.condition_size))
        for frame, tile, image in zip(missing, tiles, inputs, strict=True):
            self._memory[video, frame] = tile, image

    def _forget(self) -> None:
        """Drop the frames that were not used for longest, until the rest fits."""
        tile, image = next(iter(self._memory.values()))
        size = tile.numel() * tile.element_size() + image.numel() * image.element_size()
        while len(self._memory) * size > self._memory_bytes:
            self._memory.popitem(last=False)

    def _generator(self, *key: str | int) -> torch.Generator:
        """Random numbers that depend on the seed and ``key`` alone."""
        text = "/".join(map(str, (self.seed, *key)))
        digest = hashlib.sha256(text.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    @staticmethod
    def _below(count: int, generator: torch.Generator) -> int:
        return int(torch.randint(count, (), generator=generator))


def _sample_info(path: Path) -> dict[str, Any]:
    """As ``read_sample_info``; what is no six-view dataset is called so."""
    try:
        return read_sample_info(path)
    except InputError:
        with open_tree(path) as tree:
            if tree.exists(fmt.SAMPLE_FILE):
                raise
            multiview = tree.exists(fmt.DATASET_FILE) or has_pictures(tree)
        found = "a multi-view dataset" if multiview else f"no {fmt.SAMPLE_FILE} in it"
        raise InputError(
            f"{path}: {found}, but a six-view dataset is wanted; blender_render.render writes one "
            "with rig.kind=sixview"
        ) from None
