"""A trained animation, frame by frame and between frames."""

import copy
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from animate_papr.config import AnimateConfig
from animate_papr.finished_frames import frame_is_done, frame_run_dir, last_checkpoint
from animate_papr.run_files import dataset_of, read_json_or_none, refuse_pipeline
from blender_render.dataset.readers import read_dataset_info
from sjc_papr.data.world import World, read_world
from sjc_papr.networks.model import Papr
from sjc_papr.training.checkpoints import model_from
from training_core.config import ConfigError, InputError
from training_core.config.saved import load_run_config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sequence:
    """The finished frames of a run.

    Attributes:
        frames: their names, in order of time. background: grey level they were trained on.
        dataset_info: dataset.json, empty where the dataset has gone or has none.
        world: in which the points lie.
    """

    run: Path
    config: AnimateConfig
    frames: list[str]
    background: float
    dataset_info: dict[str, Any]
    world: World = field(default_factory=World)
    _read: dict[int, Papr] = field(default_factory=dict, repr=False, compare=False)

    def model(self, moment: float) -> Papr:
        """The model at frame number ``moment``; between two frames every weight is interpolated.

        Point i is the same point in both, and the networks of neighbouring frames differ by one
        short training from the same start, so a straight line between them stays meaningful. Where
        the numbers of points differ, the nearer frame is taken. The two frames read last are kept;
        what is returned is the caller's own.

        Raises:
            ValueError: the moment lies outside the sequence.
        """
        if not 0.0 <= moment <= len(self.frames) - 1:
            raise ValueError(f"moment {moment} is outside 0 to {len(self.frames) - 1}")
        before, share = math.floor(moment), moment - math.floor(moment)
        first = self._frame(before)
        if share == 0.0:
            return copy.deepcopy(first)
        second = self._frame(before + 1)
        if len(first.points) != len(second.points):
            return copy.deepcopy(first if share < 0.5 else second)
        return _blend(first, second, share)

    def _frame(self, index: int) -> Papr:
        if index not in self._read:
            folder = frame_run_dir(self.run, self.frames[index])
            model = model_from(self.config.model, last_checkpoint(folder), folder)
            while len(self._read) > 1:
                del self._read[next(iter(self._read))]
            self._read[index] = model
        return self._read[index]


def _blend(first: Papr, second: Papr, share: float) -> Papr:
    blended = copy.deepcopy(first)
    later = second.state_dict()
    blended.load_state_dict(
        {name: torch.lerp(value, later[name], share) for name, value in first.state_dict().items()}
    )
    return blended


def load_sequence(run: Path) -> Sequence:
    """Open a run folder of ``animate_papr.train``, finished or not.

    Raises:
        InputError: the folder is no run, or no frame of it is finished.
    """
    refuse_pipeline(run)
    try:
        config = load_run_config(AnimateConfig, run)
    except ConfigError as error:
        raise InputError(f"{error}") from error
    listed = read_json_or_none(run / "frames.json")
    if listed is None:
        raise InputError(f"{run}: no frames.json: training has not begun")
    names = listed.get("frames") if isinstance(listed, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{run / 'frames.json'}: 'frames', a list of names, is expected")
    frames = [frame for frame in names if frame_is_done(run, frame)]
    if not frames:
        raise InputError(f"{run}: no frame is finished yet")
    dataset = dataset_of(run)
    background, info = config.data.grey, _info(dataset)
    return Sequence(run, config, frames, background, info, read_world(run))


def _info(dataset: Path | None) -> dict[str, Any]:
    if dataset is None:
        return {}
    try:
        return read_dataset_info(dataset)
    except InputError as error:  # NeRF-synthetic folders have none
        logger.info("no world transform is known: %s", error)
        return {}
