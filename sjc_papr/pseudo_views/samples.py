"""New views with their true pictures, and the batches that a view network learns from: a pure
function of seed and step, so resuming needs no state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.paths import dataset_paths
from blender_render.dataset.readers import (
    Views,
    list_frames,
    read_dataset_info,
    read_sample_info,
    read_sixview,
    read_views,
)
from blender_render.dataset.same_world import check_same_world
from sjc_papr.feed_forward.geometry import hull_depth
from sjc_papr.feed_forward.network import VIEWS, DepthNetwork
from sjc_papr.pseudo_views.depth_views import guessed_views
from sjc_papr.pseudo_views.gathering import Gathered, colour_channels, gather
from sjc_papr.pseudo_views.network import ViewInputs, spread_out
from training_core.config import ConfigError, InputError
from training_core.metrics_log import progress_bar
from training_core.step.seeds import Stream, derive_seed, step_generator

# New views that see the same worsened depths; the next few see others.
_SAME_DEPTHS = 4
# Worsened depths lie so far on the way from the hull to the guess, and a little beyond.
_LEAST_WAY, _MOST_WAY = 0.35, 1.1
_NOISE_GRID = 10


@dataclass(frozen=True)
class ViewSample:
    """A new view of one moment of one object.

    Attributes:
        name: dataset, frame and view. asset: its sha256.
        gathered: what six other pictures show of it; channels in half precision.
        picture: the truth, [S, S, 4] uint8, straight alpha.
    """

    name: str
    asset: str
    gathered: Gathered
    picture: Tensor


class Pair(NamedTuple):
    """A six-view video and a multi-view dataset of the same frames; ``asset``: its sha256."""

    video: Path
    dataset: Path
    asset: str


def pairs_of(
    paths: Sequence[str], views: Sequence[str], keys: tuple[str, str] = ("data.paths", "data.views")
) -> list[Pair]:
    """Each six-view video with the multi-view dataset of the same asset and action.

    Args:
        keys: of the two options, for messages.

    Raises:
        ConfigError: there is no video. InputError: a dataset that does not say of which asset and
            action it is, two that say the same, a video without a partner, or one of another world
            or other frames.
    """
    videos = dataset_paths(paths, keys[0])
    if not videos:
        raise ConfigError(f"{keys[0]} names no six-view videos")
    found: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}
    for path in dataset_paths(views, keys[1]):
        info = read_dataset_info(path)
        identity = _identity(info, path)
        if identity in found:
            raise InputError(f"{path}: of the same asset and action as {found[identity][0]}")
        found[identity] = path, info
    pairs = []
    for video in videos:
        sample = read_sample_info(video)
        identity = _identity(sample, video)
        if identity not in found:
            raise InputError(f"{video}: no dataset of {keys[1]} is of its asset and action")
        path, info = found[identity]
        names = f"{video}/{fmt.SAMPLE_FILE}", f"{path}/{fmt.DATASET_FILE}"
        check_same_world(sample, names[0], info, names[1])
        if sample.get("frames") != info.get("frames"):
            raise InputError(f"{names[0]}: other frames than {names[1]}")
        pairs.append(Pair(video, path, identity[0]))
    return pairs


def _identity(info: dict[str, Any], path: Path) -> tuple[str, str]:
    """Asset and action of a dataset. Raises InputError where it does not say them."""
    asset, action = info.get("asset_sha256"), info.get("action")
    if not isinstance(asset, str) or not isinstance(action, str):
        raise InputError(f"{path}: does not say of which asset and action it is")
    return asset, action


def read_samples(
    pairs: Sequence[Pair],
    split: str,
    depth_network: DepthNetwork,
    size: int,
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> list[ViewSample]:
    """Every view of ``split`` of every frame, and what six views show of it.

    Args:
        size: side of the pictures in pixels.
        noise: see ``ViewDataConfig.depth_noise``; 0 = depths as the network guesses them.

    Raises:
        InputError: pictures that cannot be read.
    """
    samples: list[ViewSample] = []
    with progress_bar(len(pairs), description="gather views", unit="dataset") as bar:
        for number, pair in enumerate(pairs):
            generator = torch.Generator().manual_seed(derive_seed(seed, number))
            samples += _of_pair(pair, split, depth_network, size, noise, generator)
            bar.update()
    return samples


def _of_pair(
    pair: Pair,
    split: str,
    depth_network: DepthNetwork,
    size: int,
    noise: float,
    generator: torch.Generator,
) -> Iterator[ViewSample]:
    clip, dataset = read_sixview(pair.video), pair.dataset
    names = tuple(fmt.view_folder(view) for view in range(VIEWS))
    for frame, name in enumerate(list_frames(dataset)):
        images = clip.views[:, frame].float() / 255.0
        guessed = guessed_views(depth_network, Views(images, clip.cameras, None, names), size)
        hull = hull_depth(guessed.images[..., 3], guessed.cameras).entry if noise else None
        truth = read_views(dataset / name, split, resolution=(size, size), with_depth=False)
        known = guessed
        for view, camera in enumerate(truth.cameras):
            if hull is not None and view % _SAME_DEPTHS == 0:
                known = replace(guessed, depth=worsened(guessed.depth, hull, noise, generator))
            gathered = gather(known, camera)
            yield ViewSample(
                f"{dataset.name}/{name}/{truth.names[view]}",
                pair.asset,
                gathered._replace(
                    pixels=gathered.pixels.int(),
                    channels=gathered.channels.half(),
                    colour=gathered.colour.half(),
                    found=gathered.found.half(),
                ),
                (truth.images[view] * 255.0).round().byte(),
            )


def worsened(depth: Tensor, hull: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Depths [V, H, W] moved towards the hull's and bent smoothly by up to about ``noise``, as
    guesses of a network are wrong; 0 stays 0.
    """
    way, strength = torch.rand(2, generator=generator).tolist()
    way = _LEAST_WAY + (_MOST_WAY - _LEAST_WAY) * way
    moved = torch.where(hull > 0, torch.lerp(hull, depth, way), depth)
    bent = F.interpolate(
        torch.randn(len(depth), 1, _NOISE_GRID, _NOISE_GRID, generator=generator),
        depth.shape[1:],
        mode="bicubic",
        align_corners=False,
    )[:, 0]
    return torch.where(depth > 0, (moved + strength * noise * bent).clamp_min(0.01), 0.0)


class ViewDrawer:
    """Draws new views, mirrored and recoloured at random; every asset as often as any other."""

    def __init__(self, samples: Sequence[ViewSample], augment: bool, seed: int) -> None:
        self.augment, self.seed = augment, seed
        by_asset: dict[str, list[ViewSample]] = {}
        for sample in samples:
            by_asset.setdefault(sample.asset, []).append(sample)
        self.assets = list(by_asset.values())

    def draw(self, step: int, batch: int) -> tuple[ViewInputs, Tensor]:
        """Inputs of step number ``step`` and the true RGBA [batch, 4, S, S] in [0, 1]."""
        generator = step_generator(Stream.DATA, self.seed, step)
        inputs, truths = zip(*(self._one(generator) for _ in range(batch)), strict=True)
        stacked = ViewInputs(*(torch.cat(parts) for parts in zip(*inputs, strict=True)))
        return stacked, torch.cat(truths)

    def _one(self, generator: torch.Generator) -> tuple[ViewInputs, Tensor]:
        def pick(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        own = self.assets[pick(len(self.assets))]
        inputs, truth = as_batch(own[pick(len(own))])
        if not self.augment:
            return inputs, truth
        channels = torch.randperm(3, generator=generator).tolist()
        inputs, truth = recoloured(inputs, truth, channels)
        if pick(2):
            inputs, truth = ViewInputs(*(part.flip(3) for part in inputs)), truth.flip(3)
        return inputs, truth


def as_batch(sample: ViewSample) -> tuple[ViewInputs, Tensor]:
    """One view as a batch of one, and its true RGBA [1, 4, S, S] in [0, 1]."""
    truth = (sample.picture.float() / 255.0).permute(2, 0, 1)[None]
    return spread_out(sample.gathered, truth.shape[-1]), truth


def recoloured(
    inputs: ViewInputs, truth: Tensor, channels: Sequence[int]
) -> tuple[ViewInputs, Tensor]:
    """Red, green and blue exchanged in all that has colour."""
    order = list(range(inputs.channels.shape[1]))
    for first in colour_channels(VIEWS):
        order[first : first + 3] = [first + channel for channel in channels]
    moved = inputs._replace(
        channels=inputs.channels[:, order], colour=inputs.colour[:, list(channels)]
    )
    return moved, torch.cat([truth[:, list(channels)], truth[:, 3:]], dim=1)
