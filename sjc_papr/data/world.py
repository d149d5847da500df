"""The world that a run trains in: the dataset's own, or the object moved to the origin at length 1.

Learning rates, distances and the default start of points are made for an object of about one unit
around the origin. Other people's worlds are in millimetres, or far from the origin. Such a world is
moved and scaled for training; the run keeps how, so that evaluation, rendering and export know.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset.readers import Views, read_dataset_info
from blender_render.geometry.cameras import Camera
from blender_render.geometry.object_box import object_box, placed
from sjc_papr.data.config import DataConfig
from training_core.config import InputError
from training_core.files import atomic
from training_core.files.json_files import read_json

logger = logging.getLogger(__name__)

WORLD_FILE = "world.json"
# Objects of such a length within this distance of the origin (per axis) train as they are, all of
# ours among them. Lego, of 2.4 units, gains half a dB by being scaled.
_FARTHEST = 1.5
_SHORTEST, _LONGEST = 0.6, 1.6


@dataclass(frozen=True)
class World:
    """Training position = (dataset position − ``centre``) × ``scale``."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    @property
    def is_datasets_own(self) -> bool:
        """Whether training positions are those of the dataset."""
        return self == World()

    def views(self, views: Views) -> Views:
        """Views of the dataset as views of this world: cameras and depth, the same images."""
        if self.is_datasets_own:
            return views
        depth = None if views.depth is None else views.depth * self.scale
        return replace(views, cameras=self.cameras(views.cameras), depth=depth)

    def cameras(self, cameras: Sequence[Camera]) -> tuple[Camera, ...]:
        """Cameras of the dataset as cameras of this world."""
        return tuple(placed(cameras, self.centre, self.scale))

    def points(self, points: Tensor) -> Tensor:
        """Positions [..., 3] of the dataset as positions of this world."""
        return (points - torch.tensor(self.centre)) * self.scale

    def to_json(self) -> dict[str, Any]:
        """The record that ``from_json`` reads."""
        return {"centre": list(self.centre), "scale": self.scale}

    @staticmethod
    def from_json(content: Any, path: Path) -> "World":
        """A world as it was recorded in ``path``. Raises InputError where the record is damaged."""
        if not isinstance(content, dict):
            content = {}
        centre, scale = content.get("centre"), content.get("scale")
        numbers: list[Any] = [*centre, scale] if isinstance(centre, list) else []
        usable = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
        if len(numbers) != 4 or not usable or numbers[3] <= 0.0:
            raise InputError(f"{path}: 'centre' [3] and a positive 'scale' are expected")
        x, y, z, scale = map(float, numbers)
        return World((x, y, z), scale)

    def to_dataset(self) -> np.ndarray:
        """[4, 4] from training positions to the dataset's."""
        matrix = np.diag([*[1.0 / self.scale] * 3, 1.0])
        matrix[:3, 3] = self.centre
        return matrix

    def describe(self) -> str:
        """A line for the log and the plan."""
        centre = ", ".join(f"{x:.4g}" for x in self.centre)
        return (
            f"world: the object lies around ({centre}); trained at {self.scale:.4g} times its size"
        )


def find_world(views: Views, data: DataConfig) -> World:
    """The world to train these views in, see ``DataConfig.normalise``; the same for the same views.

    Where the cameras do not tell where the object is, the world stays as it is.
    """
    if data.normalise == "never":
        return World()
    box = object_box(views.images[..., 3], views.cameras)
    if box is None:
        return World()
    low, high = box
    length = float((high - low).max())
    small = length < _SHORTEST and not _is_ours(Path(data.path))
    near = max(abs(low).max(), abs(high).max()) <= _FARTHEST
    if near and not small and length <= _LONGEST:
        return World()
    x, y, z = (0.5 * (low + high)).tolist()
    return World((x, y, z), 1.0 / length)


def why_left(views: Views) -> str:
    """Where the object of these views reaches farther out than a world is made for, how far; else
    empty.

    Args:
        views: of the run's world, as ``World.views`` gives them.
    """
    box = object_box(views.images[..., 3], views.cameras)
    if box is None:
        return ""
    reach = float(max(abs(box[0]).max(), abs(box[1]).max()))
    if reach <= _FARTHEST:
        return ""
    return (
        f"the object reaches {reach:.3g} units from the origin, where points are looked for within "
        f"{_FARTHEST:g}: the first frame decides where the world lies, and the object has left it; "
        "a dataset rendered with normalise.follow=root goes along with it"
    )


def world_of_run(run: Path, views: Views, data: DataConfig, extend: Path | None = None) -> World:
    """The world of a run folder: as it began, else that of the run ``extend`` from which its points
    come, else found now and recorded.

    A run that began before worlds were recorded goes on in the dataset's own.

    Raises:
        InputError: the record is damaged.
    """
    started = (run / "checkpoints").is_dir() and any((run / "checkpoints").iterdir())
    if (run / WORLD_FILE).is_file() or started or (run / "frames").is_dir():
        return read_world(run)
    world = read_world(extend) if extend else find_world(views, data)
    if not world.is_datasets_own:
        atomic.write_json(run / WORLD_FILE, world.to_json())
        logger.info("%s", world.describe())
    return world


def read_world(run: Path) -> World:
    """The world that a run was trained in.

    Raises:
        InputError: the record is damaged.
    """
    path = run / WORLD_FILE
    if not path.is_file():
        return World()
    return World.from_json(read_json(path), path)


def _is_ours(frame: Path) -> bool:
    """Whether a frame folder belongs to a dataset that was normalised over all its frames."""
    try:
        return "world_to_asset" in read_dataset_info(frame.parent)
    except InputError:
        return False
