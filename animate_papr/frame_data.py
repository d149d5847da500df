"""The images of each frame, read, checked and carried into the run's world."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animate_papr.config import AnimateConfig
from animate_papr.following.tracking import read_paths
from blender_render.dataset.readers import Views, list_frames
from blender_render.dataset.tracks import TRACKS_FILE
from sjc_papr.data.input_checks import check_held_out, check_poses
from sjc_papr.data.loading import load_training_views, load_views
from sjc_papr.data.mending import views_to_train
from sjc_papr.data.world import World, find_world, read_world, why_left
from sjc_papr.novel_view.from_options import check_novel
from sjc_papr.pseudo_views.config import PseudoViewsConfig
from sjc_papr.pseudo_views.depth_views import require_six
from sjc_papr.pseudo_views.imagine import pseudo_views
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points
from training_core.config import ConfigError, InputError
from training_core.run_folder import RunFolder

logger = logging.getLogger(__name__)


class PseudoFrames:
    """Pseudo-views of a run's frames; the last are kept, because the next frame asks for them."""

    def __init__(self, config: PseudoViewsConfig) -> None:
        self.config = config
        self._kept: dict[str, Views | None] = {}

    def of(self, name: str, views: Views) -> Views | None:
        """Those of frame ``name``; None where none are asked for, or, with a warning, where the
        frame has not six views that show something.
        """
        if name not in self._kept:
            self._kept = {name: self._made(name, views) if self.config.on else None}
        return self._kept[name]

    def of_before(self, name: str) -> Callable[[Views], Views | None]:
        """What gives those of frame ``name``, now or when others have taken their place here."""
        if name in self._kept:
            kept = self._kept[name]
            return lambda _: kept
        return lambda views: self._made(name, views) if self.config.on else None

    def _made(self, name: str, views: Views) -> Views | None:
        try:
            require_six(views)
        except ConfigError as error:
            logger.warning("%s: no pseudo-views: %s", name, error)
            return None
        return pseudo_views(self.config, views)


@dataclass(frozen=True)
class FrameTask:
    """One frame of the loop: its place in time, its folder and its images.

    ``scale``: units of the images' world in a unit of the dataset. ``motion``: where points of the
    surface were in the frame before and are now, [N, 3] each, in the images' world, where that is
    known and asked for. ``read_before``: reads the training images of the frame before, and its
    pseudo-views, where the motion is sought in them; once, so that they are not kept. ``pseudo``:
    those of this frame, where they are asked for.
    """

    index: int
    name: str
    run: RunFolder
    train: Views
    test: Views
    val: Views | None
    scale: float = 1.0
    motion: tuple[Tensor, Tensor] | None = None
    read_before: Callable[[], tuple[Views, Views | None]] | None = None
    pseudo: Views | None = None

    @staticmethod
    def read(
        config: AnimateConfig,
        index: int,
        name: str,
        run: RunFolder,
        world: World,
        pseudo: PseudoFrames | None = None,
    ) -> "FrameTask":
        """Read a frame's images into the run's world; the validation split only where validation
        is asked for. ``pseudo``: of the frames before; None = none was made yet.

        Raises:
            InputError: images cannot be read, or poses do not belong to them.
        """
        folder = Path(config.data.path) / name
        train = training_views(config, folder)
        pseudo = pseudo or PseudoFrames(config.pseudo)
        read_before = _reader_of_before(config, index, world, run, pseudo)
        test, val = _held_out_views(config, folder, train)
        placed = views_to_train(train, world, config.corrections, run.path)
        _say_if_left(folder, index, placed)
        return FrameTask(
            index,
            name or "frame",
            run,
            placed,
            placed if _same_pictures(test, train) else world.views(test),
            val and world.views(val),
            world.scale,
            _known_motion(config, index, world),
            read_before,
            pseudo.of(name, placed),
        )


def training_views(config: AnimateConfig, folder: Path) -> Views:
    """A frame's training images, in the dataset's world, checked.

    Raises:
        InputError: images cannot be read, or poses do not belong to them.
    """
    views = load_training_views(config.data, folder)
    check_poses(views, config.data, str(folder))
    return views


def _held_out_views(
    config: AnimateConfig, folder: Path, train: Views
) -> tuple[Views, Views | None]:
    """A frame's test and validation images, checked; the latter only where they are asked for."""
    test = load_views(config.data, folder, "test")
    val = load_views(config.data, folder, "val") if config.log.validate_every else None
    check_held_out(train, folder, {"val": val, "test": test}, config.data)
    return test, val


def _same_pictures(test: Views, train: Views) -> bool:
    """Whether a frame is judged by the pictures that it learns from, for want of others: then, as
    these were mended.
    """
    same_size = test.images.shape == train.images.shape
    return same_size and torch.equal(test.images, train.images)


def _reader_of_before(
    config: AnimateConfig, index: int, world: World, run: RunFolder, pseudo: PseudoFrames
) -> Callable[[], tuple[Views, Views | None]] | None:
    """See ``FrameTask.read_before``; to be made while ``pseudo`` has those of the frame before."""
    align = config.next.align
    if not index or align.to != "pictures" or not align.steps or config.next.freeze.positions:
        return None
    dataset = Path(config.data.path)
    name = (config.frames or list_frames(dataset))[index - 1]
    made, before = pseudo.of_before(name), run.path.parent / (name or "frame")

    def read() -> tuple[Views, Views | None]:
        views = load_training_views(config.data, dataset / name)
        views = views_to_train(views, world, config.corrections, before)
        return views, made(views)

    return read


def _known_motion(config: AnimateConfig, index: int, world: World) -> tuple[Tensor, Tensor] | None:
    """See ``FrameTask.motion``. Raises InputError as ``known_paths`` does."""
    paths = known_paths(config, world) if index else None
    return None if paths is None else (paths[index - 1], paths[index])


def known_paths(config: AnimateConfig, world: World) -> Tensor | None:
    """Where surface points are in every frame of a run, [T, N, 3] in its world; None where points
    are not to go along them.

    Raises:
        InputError: they are, but the dataset does not bring the paths.
    """
    dataset = Path(config.data.path)
    names = config.frames or list_frames(dataset)
    if config.next.align.to != "tracks" or len(names) < 2:
        return None
    paths = read_paths(dataset, names, world)
    if paths is None:
        raise InputError(f"next.align.to=tracks: {dataset} has no {TRACKS_FILE}")
    return paths


def _say_if_left(folder: Path, index: int, views: Views) -> None:
    """Warn where a later frame's object lies outside the world that the first one decided."""
    if index and (left := why_left(views)):
        logger.warning("%s: %s", folder, left)


def check_frames(config: AnimateConfig, names: Sequence[str]) -> tuple[tuple[int, int], World]:
    """Numbers of training and test images of all frames, and the world they would be trained in.

    Raises:
        InputError: a frame that training would refuse.
    """
    world = read_world(Path(config.extend)) if config.extend else None
    known_paths(config, World())
    align = config.next.align
    aligned = align.to == "outline" and align.steps and not config.next.freeze.positions
    train_count = test_count = 0
    for index, name in enumerate(names):
        folder = Path(config.data.path) / name
        train = training_views(config, folder)
        world = world or find_world(train, config.data)
        placed = views_to_train(train, world, config.corrections)
        check_novel(config.novel.of_frame(index), placed.cameras)
        _say_if_left(folder, index, placed)
        if index == 0:
            initial_points(placed, config.points, 1, config.seed)
        elif aligned:
            initial_points(placed, PointsConfig(count=1), 1, config.seed)
        train_count += len(train)
        test_count += len(_held_out_views(config, folder, train)[0])
    assert world is not None
    return (train_count, test_count), world
