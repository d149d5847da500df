"""Six-view pictures with true depth, and the batches that a depth network learns from: a pure
function of seed and step, so resuming needs no state.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset.paths import dataset_paths
from blender_render.dataset.readers import read_sixview
from blender_render.dataset.sixview_depth import read_depth
from blender_render.geometry.cameras import Camera
from blender_render.imaging.resize import resize_depth, resize_rgba
from sjc_papr.data.eyes import Eye
from sjc_papr.feed_forward.geometry import SHOWN, colour_disagreement, hull_depth, lift
from sjc_papr.feed_forward.network import VIEWS, DepthInputs, DepthNetworkConfig
from training_core.config import ConfigError
from training_core.metrics_log import progress_bar
from training_core.step.seeds import Stream, step_generator

logger = logging.getLogger(__name__)

# The six cameras stand alike after a third of a turn, and after a mirror through views 0 and 3:
# each row names, for every view, whose picture it takes (mirrored in the last three).
_TURNS = [[(view + shift) % VIEWS for view in range(VIEWS)] for shift in (0, 2, 4)]
_MIRRORS = [[(shift - view) % VIEWS for view in range(VIEWS)] for shift in (0, 2, 4)]
SYMMETRIES = [(order, False) for order in _TURNS] + [(order, True) for order in _MIRRORS]
_SAME_PLACE = 1e-3


@dataclass(frozen=True)
class SixDepth:
    """One moment of one object.

    Attributes:
        name: dataset and frame. sha256: of the asset, "" if not said.
        pictures: [6, S, S, 4] uint8, straight alpha.
        cameras: six, of S x S pictures.
        depth: true planar depth, [6, S, S] float32, 0 = no surface; None where it is not known.
        entry, exit: see ``geometry.HullDepth``, [6, S, S].
        disagreement: see ``geometry.colour_disagreement``, [6, 2K, S, S] uint8, 255 = 1.
    """

    name: str
    sha256: str
    pictures: Tensor
    cameras: tuple[Camera, ...]
    depth: Tensor | None
    entry: Tensor
    exit: Tensor
    disagreement: Tensor


def describe(
    name: str,
    pictures: Tensor,
    cameras: Sequence[Camera],
    depth: Tensor | None,
    network: DepthNetworkConfig,
    sha256: str = "",
) -> SixDepth:
    """What the network needs to know of six pictures [6, H, W, 4] in [0, 1], at its own size."""
    size = network.size
    small = torch.stack([resize_rgba(picture, size, size) for picture in pictures])
    resized = tuple(camera.resized(size, size) for camera in cameras)
    hull = hull_depth(small[..., 3], resized)
    behind = torch.tensor(network.guesses)
    disagreement = colour_disagreement(small, resized, hull.entry, behind)
    if depth is not None:
        depth = torch.stack([resize_depth(own, size, size) for own in depth])
    return SixDepth(
        name,
        sha256,
        (small * 255.0).round().byte(),
        resized,
        depth,
        hull.entry,
        hull.exit,
        (disagreement * 255.0).round().byte(),
    )


def read_samples(paths: Sequence[str], network: DepthNetworkConfig) -> list[SixDepth]:
    """Every frame of every six-view video with depth.

    Args:
        paths: videos (folders or .zip), or folders of such.

    Raises:
        ConfigError: no video there. InputError: a video without depth, or one that is damaged.
    """
    videos = dataset_paths(paths)
    if not videos:
        raise ConfigError("data.paths names no six-view videos")
    samples: list[SixDepth] = []
    with progress_bar(len(videos), description="read six views", unit="video") as bar:
        for video in videos:
            samples += _read_video(video, network)
            bar.update()
    return samples


def _read_video(video: Path, network: DepthNetworkConfig) -> list[SixDepth]:
    clip = read_sixview(video)
    depth = read_depth(video, range(len(clip)))
    sha256 = str(clip.info.get("asset_sha256", ""))
    return [
        describe(
            f"{video.stem}/{frame}",
            clip.views[:, frame].float() / 255.0,
            clip.cameras,
            depth[:, frame],
            network,
            sha256,
        )
        for frame in range(len(clip))
    ]


def refuse_asymmetric(samples: Sequence[SixDepth]) -> None:
    """Raises ConfigError where a third of a turn does not carry the six cameras into each other."""
    third = np.deg2rad(120.0)
    cos, sin = np.cos(third), np.sin(third)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    for sample in samples:
        places = np.stack([camera.position for camera in sample.cameras])
        if np.abs(places @ turn.T - np.roll(places, -2, axis=0)).max() > _SAME_PLACE:
            raise ConfigError(f"{sample.name}: not the rig's cameras; set data.augment=false")


def network_inputs(sample: SixDepth) -> DepthInputs:
    """One moment as a batch of one."""
    shown = sample.entry > 0
    eyes = [Eye.of(camera) for camera in sample.cameras]
    distance = torch.stack([eye.origin.norm() for eye in eyes])[:, None, None]
    toward = torch.stack([eye.toward for eye in eyes]).permute(0, 3, 1, 2)
    return DepthInputs(
        (sample.pictures.float() / 255.0).permute(0, 3, 1, 2)[None],
        toward[None],
        torch.where(shown, sample.entry - distance, 0.0)[None, :, None],
        lift(sample.entry, sample.cameras).permute(0, 3, 1, 2)[None],
        (sample.exit - sample.entry)[None, :, None],
        (sample.disagreement.float() / 255.0)[None],
        shown[None, :, None],
    )


def transformed(sample: SixDepth, symmetry: int, channels: Sequence[int] = (0, 1, 2)) -> SixDepth:
    """The object turned by a third, or mirrored, as the same six cameras see it, its colour
    channels exchanged.

    Args:
        symmetry: row of ``SYMMETRIES``; 0 leaves it as it is.
    """
    order, mirror = SYMMETRIES[symmetry]

    def move(values: Tensor, column: int) -> Tensor:
        moved = values[order]
        return moved.flip(column) if mirror else moved

    pictures = move(sample.pictures, 2)
    before, after = move(sample.disagreement, 3).chunk(2, dim=1)
    return SixDepth(
        sample.name,
        sample.sha256,
        torch.cat([pictures[..., list(channels)], pictures[..., 3:]], dim=-1),
        sample.cameras,
        None if sample.depth is None else move(sample.depth, 2),
        move(sample.entry, 2),
        move(sample.exit, 2),
        # Mirrored, the neighbour on the left stands on the right.
        torch.cat([after, before] if mirror else [before, after], dim=1),
    )


def true_correction(sample: SixDepth) -> tuple[Tensor, Tensor]:
    """What is to be added to the hull's depth, and where it is known, both [1, 6, S, S]."""
    assert sample.depth is not None
    shown = sample.pictures[..., 3] >= SHOWN * 255.0
    known = shown & (sample.depth > 0) & (sample.entry > 0)
    return torch.where(known, sample.depth - sample.entry, 0.0)[None], known[None]


class SampleDrawer:
    """Draws moments, each turned, mirrored and recoloured at random.

    Every asset is drawn as often as any other, however many clips it has.
    """

    def __init__(self, samples: Sequence[SixDepth], augment: bool, seed: int) -> None:
        self.augment, self.seed = augment, seed
        by_asset: dict[str, list[SixDepth]] = {}
        for sample in samples:
            by_asset.setdefault(sample.sha256 or sample.name, []).append(sample)
        self.assets = list(by_asset.values())
        if augment:
            refuse_asymmetric(samples)

    def draw(self, step: int, batch: int) -> list[SixDepth]:
        """``batch`` moments of step number ``step``."""
        generator = step_generator(Stream.DATA, self.seed, step)
        return [self._one(generator) for _ in range(batch)]

    def _one(self, generator: torch.Generator) -> SixDepth:
        def pick(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        own = self.assets[pick(len(self.assets))]
        sample = own[pick(len(own))]
        if not self.augment:
            return sample
        channels = torch.randperm(3, generator=generator).tolist()
        return transformed(sample, pick(len(SYMMETRIES)), channels)


def stack_inputs(samples: Sequence[SixDepth]) -> DepthInputs:
    """Several moments as one batch."""
    parts = [network_inputs(sample) for sample in samples]
    return DepthInputs(*(torch.cat(part) for part in zip(*parts, strict=True)))
