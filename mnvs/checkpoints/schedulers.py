"""The sampling scheduler of a checkpoint."""

from pathlib import Path
from typing import Any, cast

import diffusers
from diffusers import SchedulerMixin

from training_core.config import InputError
from training_core.files.json_files import read_json


def load_scheduler(folder: str | Path, trailing: bool = True) -> SchedulerMixin:
    """The diffusers scheduler that `scheduler_config.json` names.

    Args:
        trailing: sample from the last timestep on. Zero123++'s file has "linspace", which every
            example of its authors replaces by "trailing".

    Raises:
        InputError: the file is missing or damaged, or names no scheduler of diffusers.
    """
    path = Path(folder) / "scheduler_config.json"
    config = read_json(path)
    name = config.get("_class_name")
    found = getattr(diffusers, str(name), None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        raise InputError(f"{path}: {name!r} is no scheduler of diffusers")
    if config.get("prediction_type") != "v_prediction":
        raise InputError(f"{path}: prediction_type is not v_prediction")
    if trailing and "timestep_spacing" in config:
        config["timestep_spacing"] = "trailing"
    scheduler: SchedulerMixin = cast(Any, found).from_config(config)
    return scheduler
