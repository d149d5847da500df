"""Whether a frame of a run was trained to its end, and what it left."""

import logging
from pathlib import Path
from typing import Any

from animate_papr.config import AnimateConfig
from animate_papr.run_files import read_json_or_none
from training_core.checkpoint import Checkpoint, CheckpointStore
from training_core.config import ConfigError, InputError
from training_core.extension import made_steps, source_run

logger = logging.getLogger(__name__)

PHASE = "animate_papr"
# What the figures of the whole run are made of.
_FIGURES = ("psnr", "seconds", "cpu_seconds", "steps")


def frame_run_dir(run: Path, frame: str) -> Path:
    """Where a run keeps one frame; a dataset that is a single folder has the frame name ""."""
    return run / "frames" / (frame or "frame")


def frame_is_done(run: Path, frame: str) -> bool:
    """Whether a frame was trained and evaluated to the end."""
    return read_json_or_none(frame_run_dir(run, frame) / "metrics.json") is not None


def read_figures(folder: Path) -> dict[str, Any] | None:
    """The figures of a frame's folder; None where they are missing or have lost a number."""
    figures = read_json_or_none(folder / "metrics.json")
    if figures is None:
        return None
    lost = [name for name in _FIGURES if not isinstance(figures.get(name), int | float)]
    if lost:
        logger.warning("%s: metrics.json has no %s", folder, ", ".join(lost))
        return None
    return figures


def last_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint with which a frame ended.

    Raises:
        InputError: there is none, or it is damaged; an earlier one is not the frame's result.
    """
    saved = CheckpointStore(folder / "checkpoints").load()
    if saved is None:
        raise InputError(f"{folder}: no checkpoint")
    steps = (read_json_or_none(folder / "metrics.json") or {}).get("steps")
    if isinstance(steps, int) and saved.step < steps:
        raise InputError(
            f"{folder}: the checkpoint of its last step, {steps}, is damaged or gone; the training "
            f"command finishes the frame again, from step {saved.step}"
        )
    return saved


def is_whole(folder: Path) -> bool:
    """Whether a frame has its figures and its last checkpoint; what is missing is logged."""
    if not (folder / "metrics.json").exists() or read_figures(folder) is None:
        return False
    try:
        last_checkpoint(folder)
    except InputError as error:
        logger.warning("%s", error)
        return False
    return True


def frames_to_extend(config: AnimateConfig, names: list[str]) -> dict[str, Path]:
    """By name, the folders of another run in which frames go on, after ``extend``.

    The first frame goes on where it is. So do the others if it does not change, and with it the
    networks that they keep; where it is trained longer, they start from it anew, as in any run.
    Frames that the other run does not have start from the frame before them.

    Raises:
        ConfigError: the other folder is no run, has no first frame, or has made more steps.
    """
    own = Path(config.output_root) / PHASE / config.name
    begun = config.resume == "auto" and all(
        made_steps(frame_run_dir(own, name)) is not None for name in names
    )
    # Frames that have begun need the other run no longer.
    source = None if begun else source_run(config, PHASE)
    if source is None:
        return {}
    found: dict[str, Path] = {}
    for index, name in enumerate(names):
        folder = frame_run_dir(source, name)
        made, wanted = made_steps(folder), (config.next if index else config.first).steps
        key = "next.steps" if index else "first.steps"
        if index == 0 and made is None:
            raise ConfigError(f"extend: {folder} has no checkpoint to go on from")
        if made is None:
            continue
        if made > wanted:
            raise ConfigError(f"extend: {folder} has made {made} steps; {key}={wanted} are fewer")
        found[name] = folder
        if index == 0 and made < wanted:
            break
    return found
