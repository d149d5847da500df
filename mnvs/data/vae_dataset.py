"""Training images of the tiny VAE: tiles of six-view videos, and multi-view renders."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.readers import list_frames, read_sixview, read_views
from blender_render.imaging.images import to_uint8
from mnvs.data.tiles import pack_tile
from mnvs.encoders.vae_scaling import on_grey
from training_core.config import InputError
from training_core.step.seeds import Stream, step_generator

# One frame in this many is held out for evaluation: the middle one of each group.
HOLD_OUT_EVERY = 8


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images of one dataset, uint8 RGB over grey.

    Attributes:
        train, held_out: [N, 3, H, W]; tiles (H : W = 3 : 2) of a six-view video, or square views.
    """

    name: str
    train: Tensor
    held_out: Tensor


def read_source(path: str | Path, view_size: int) -> ImageSource:
    """The tiles of a six-view video, or the views of all frames of a multi-view dataset.

    Of a video, the middle frame of every eight is held out; of a multi-view dataset, the test
    split.

    Raises:
        InputError: the dataset is damaged, of neither kind, or has nothing to hold out.
    """
    with open_tree(path) as tree:
        sixview = tree.exists(fmt.SAMPLE_FILE)
    name = Path(path).stem
    if sixview:
        tiles = to_bytes(pack_tile(on_grey(read_sixview(path).resized_views(view_size))))
        held = torch.arange(len(tiles)) % HOLD_OUT_EVERY == min(HOLD_OUT_EVERY, len(tiles)) // 2
        if bool(held.all()):
            raise InputError(f"{path}: one frame is too few to fit a VAE and to measure it")
        return ImageSource(name, tiles[~held], tiles[held])
    size = (view_size, view_size)
    splits = []
    for split in ("train", "test"):
        frames = [
            read_views(
                Path(path) / frame, split, resolution=size, with_depth=False, no_alpha="opaque"
            ).images
            for frame in list_frames(path)
        ]
        splits.append(to_bytes(on_grey(torch.cat(frames))))
    return ImageSource(name, *splits)


def to_bytes(images: Tensor) -> Tensor:
    """[0, 1] → uint8, rounded; a quarter of the memory, and exact for renders of that size."""
    return torch.from_numpy(to_uint8(images))


def to_unit(images: Tensor) -> Tensor:
    """uint8 → float32 in [0, 1]."""
    return images.float() / 255.0


class CropSampler:
    """Square crops of the training images, a pure function of seed and step.

    Every source is equally likely, whatever its number of images. Crops of a tile may lie
    across the borders of its views, because the whole tile goes through the VAE. Half of them are
    mirrored; with ``recolour`` their colour channels come in random order, so that few assets
    show more colours.
    """

    def __init__(
        self, sources: Sequence[ImageSource], crop: int, batch: int, recolour: bool, seed: int
    ) -> None:
        self.images = [source.train for source in sources]
        self.crop, self.batch, self.recolour, self.seed = crop, batch, recolour, seed
        for source in sources:
            if min(source.train.shape[-2:]) < crop:
                raise InputError(f"{source.name}: images are smaller than the crop of {crop}")

    def generator(self, step: int) -> torch.Generator:
        """The random numbers of one step."""
        return step_generator(Stream.DATA, self.seed, step)

    def sample(self, generator: torch.Generator) -> Tensor:
        """[B, 3, crop, crop] in [0, 1]."""

        def below(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        crops = []
        for _ in range(self.batch):
            images = self.images[below(len(self.images))]
            image = images[below(len(images))]
            top, left = (below(length - self.crop + 1) for length in image.shape[1:])
            part = image[:, top : top + self.crop, left : left + self.crop]
            if self.recolour:
                part = part[torch.randperm(3, generator=generator)]
            crops.append(part.flip(-1) if below(2) else part)
        return to_unit(torch.stack(crops))
