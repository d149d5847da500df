"""Pairs of views for the prior: a pure function of seed and step, so resuming needs no state."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.format import frame_number
from blender_render.dataset.paths import dataset_paths
from blender_render.dataset.readers import Views, list_frames, read_views
from blender_render.geometry.cameras import Camera
from sjc_papr.data.config import DataConfig
from sjc_papr.data.input_checks import check_poses
from sjc_papr.data.world import World, find_world
from sjc_papr.prior.config import PriorDataConfig
from sjc_papr.prior.network import PriorNetworkConfig
from sjc_papr.prior.score_model import prior_rays
from sjc_papr.score_models.framing import square_view
from training_core.config import ConfigError
from training_core.files.atomic import write_json
from training_core.files.json_files import read_json
from training_core.step.seeds import Stream, step_generator

logger = logging.getLogger(__name__)

WORLDS_FILE = "worlds.json"


class PriorBatch(NamedTuple):
    """Pairs of views as the network takes them; see ``PriorNetwork.forward``."""

    target: Tensor
    image: Tensor
    rays: Tensor
    image_rays: Tensor
    camera_centers: Tensor


@dataclass(frozen=True)
class FrameViews:
    """One split of one frame of one object: images [N, 3, S, S] in [0, 1] and their cameras."""

    name: str
    images: Tensor
    cameras: tuple[Camera, ...]


def read_frames(config: PriorDataConfig, size: int, split: str) -> list[FrameViews]:
    """Every frame of every dataset but those to be skipped, on white.

    Raises:
        ConfigError: nothing is left. InputError: see ``blender_render.dataset.readers.read_views``;
            also where the training poses of a dataset's first frame do not belong to its images.
    """
    frames: list[FrameViews] = []
    checked: set[str] = set()
    for folder in frame_folders(config):
        views = read_views(folder, split, with_depth=False)
        if split == "train" and _dataset_of(folder) not in checked:
            checked.add(_dataset_of(folder))
            check_poses(views, DataConfig(check=config.check), str(folder))
        frames.append(_frame_views(str(folder), views, size))
    return frames


def frame_folders(config: PriorDataConfig) -> list[Path]:
    """The frame folders that ``paths`` and ``skip_frames`` leave.

    Raises:
        ConfigError: none, a path that does not exist, or a frame to be skipped that is in none.
    """
    found: list[Path] = []
    for path in dataset_paths(config.paths):
        if not path.is_dir():
            raise ConfigError(f"data.paths: no folder {path}")
        is_frame = any(path.glob("transforms_*.json"))
        found += [path] if is_frame else [path / name for name in list_frames(path)]
    numbers = [_number(folder) for folder in found]
    if missing := set(config.skip_frames) - set(numbers):
        # A frame that was to be kept from the prior must not slip in under another name.
        raise ConfigError(f"data.skip_frames: no frame {min(missing)} among those of data.paths")
    kept = [f for f, n in zip(found, numbers, strict=True) if n not in config.skip_frames]
    if not kept:
        raise ConfigError("data.paths names no frames to train on")
    return kept


def worlds_of_run(
    config: PriorDataConfig, run: Path, source: Path | None = None
) -> dict[str, World]:
    """The world of each dataset that is not trained in its own, by the dataset's folder.

    As ``sjc_papr.train`` finds it, from the training views of a dataset's first frame. The run
    keeps them; one that began before there was such a record goes on without, and so does one that
    extends it (``source``).
    """
    path = (source or run) / WORLDS_FILE
    started = source is not None or any((run / "checkpoints").glob("*"))
    if started or path.is_file():
        record = read_json(path) if path.is_file() else {}
        return {name: World.from_json(entry, path) for name, entry in record.items()}
    found: dict[str, World] = {}
    for folder in frame_folders(config):
        name = _dataset_of(folder)
        if name not in found:
            views = read_views(folder, "train", with_depth=False)
            found[name] = find_world(views, DataConfig(path=str(folder)))
    return {name: world for name, world in found.items() if not world.is_datasets_own}


def keep_worlds(run: Path, worlds: Mapping[str, World]) -> None:
    """Record them in the run's folder, and say what they are."""
    if worlds and not (run / WORLDS_FILE).is_file():
        write_json(run / WORLDS_FILE, {name: world.to_json() for name, world in worlds.items()})
    for name, world in worlds.items():
        logger.info("%s: %s", name, world.describe())


def in_worlds(frames: Sequence[FrameViews], worlds: Mapping[str, World]) -> list[FrameViews]:
    """The frames with their cameras in the worlds they are trained in."""
    carried = []
    for frame in frames:
        world = worlds.get(_dataset_of(Path(frame.name)))
        cameras = frame.cameras if world is None else world.cameras(frame.cameras)
        carried.append(replace(frame, cameras=cameras))
    return carried


def _dataset_of(folder: Path) -> str:
    """The dataset of a frame folder; a folder that belongs to none is one itself."""
    return str(folder.parent if frame_number(folder.name) is not None else folder)


def _number(folder: Path) -> int | None:
    """Of a frame folder, frame_012; None where it is called otherwise."""
    digits = folder.resolve().name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else None


def _frame_views(name: str, views: Views, size: int) -> FrameViews:
    """Framed as the prior will be asked for it."""
    images = views.composite(1.0).permute(0, 3, 1, 2)
    framed = [square_view(*view, size) for view in zip(images, views.cameras, strict=True)]
    return FrameViews(name, torch.stack([p for p, _ in framed]), tuple(c for _, c in framed))


class PairSampler:
    """Draws a frame, then two of its views; each is zoomed a little, its camera with it."""

    def __init__(
        self,
        frames: Sequence[FrameViews],
        config: PriorDataConfig,
        network: PriorNetworkConfig,
        seed: int,
    ) -> None:
        self.frames, self.config, self.network, self.seed = frames, config, network, seed

    def sample(self, step: int, batch: int) -> PriorBatch:
        """``batch`` pairs of step number ``step``."""
        generator = step_generator(Stream.DATA, self.seed, step)
        pairs = [self._pair(generator) for _ in range(batch)]
        return PriorBatch(*map(torch.stack, zip(*pairs, strict=True)))

    def _pair(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        frame = self.frames[int(torch.randint(len(self.frames), (), generator=generator))]
        chosen = torch.randint(len(frame.cameras), (2,), generator=generator).tolist()
        low, high = self.config.zoom_min, self.config.zoom_max
        zooms = (low + (high - low) * torch.rand(2, generator=generator)).tolist()
        (target, target_camera), (image, camera) = (
            zoomed(frame.images[view], frame.cameras[view], zoom)
            for view, zoom in zip(chosen, zooms, strict=True)
        )
        rays = prior_rays(camera, target_camera, self.network, 1.0)
        return target * 2.0 - 1.0, image * 2.0 - 1.0, *rays


def zoomed(image: Tensor, camera: Camera, factor: float) -> tuple[Tensor, Camera]:
    """The view a lens of ``factor`` times the focal length would give, white where it saw nothing.

    Args:
        image: [3, S, S] in [0, 1], its principal point in the middle.
    """
    theta = torch.tensor([[[1.0 / factor, 0.0, 0.0], [0.0, 1.0 / factor, 0.0]]])
    grid = F.affine_grid(theta, [1, *image.shape], align_corners=False)
    # Ink instead of paper, so that the zeros outside come out white.
    ink = F.grid_sample(1.0 - image[None], grid, align_corners=False)[0]
    longer = replace(camera, fl_x=camera.fl_x * factor, fl_y=camera.fl_y * factor)
    return 1.0 - ink, longer
