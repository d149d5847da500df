"""Training longer: a new run that goes on where another one is.

``extend=RUN`` starts from the last checkpoint of the run in folder RUN: its weights, the
optimizer's moments, the averaged weights, the random generators, the number of steps made and the
time spent. Schedules are functions of the step and of the number of steps, so they go on as those
of a run that had the new length from its beginning: after 1,000 steps extended to 2,000, rates are
what they are in the middle of 2,000 steps. Everything else may be configured differently, as long
as the checkpoint fits.
"""

import logging
from pathlib import Path

from training_core.checkpoint import CheckpointStore
from training_core.config import ConfigError
from training_core.config.saved import CONFIG_FILE, differences
from training_core.run_config import CommandConfig

logger = logging.getLogger(__name__)

# What differs between any two runs is not worth a line.
_OWN_KEYS = ("name", "output_root", "resume", "extend")


def source_run(config: CommandConfig, phase: str) -> Path | None:
    """The folder that ``extend`` names; None where the key is empty.

    Raises:
        ConfigError: it is no run, or the run's own folder.
    """
    if not config.extend:
        return None
    source, own = Path(config.extend), Path(config.output_root) / phase / config.name
    if not (source / CONFIG_FILE).is_file():
        raise ConfigError(f"extend: {source} is no run folder, it has no {CONFIG_FILE}")
    if source.resolve() == own.resolve():
        raise ConfigError(f"extend: {source} is this run itself; give the longer run another name")
    return source


def extended_run(config: CommandConfig, phase: str, steps: int, key: str) -> Path | None:
    """The run folder to go on from; None where there is none, or the new run has begun already.

    Args:
        phase: of the new run. steps: it is to have, the earlier ones included.
        key: the option that says how many.

    Raises:
        ConfigError: the folder is no run, has no checkpoint, or has made as many steps already.
    """
    own = Path(config.output_root) / phase / config.name
    if not config.extend or (config.resume == "auto" and made_steps(own) is not None):
        return None  # a run that has begun needs the other one no longer
    source = source_run(config, phase)
    assert source is not None
    made = made_steps(source)
    if made is None:
        raise ConfigError(f"extend: {source} has no checkpoint to go on from")
    if made >= steps:
        raise ConfigError(f"extend: {source} has made {made} steps; {key}={steps} must be more")
    return source


def made_steps(run: Path) -> int | None:
    """How many steps the newest checkpoint of a run has; None without a checkpoint."""
    newest = CheckpointStore(run / "checkpoints").latest()
    return None if newest is None else int(newest.name.split(".")[0].rpartition("_")[2])


def describe_extension(source: Path | None) -> list[str]:
    """The line of ``--dry-run`` about it, none without."""
    return [] if source is None else [f"goes on from step {made_steps(source)} of {source}"]


def log_differences(source: Path, config: CommandConfig) -> None:
    """Say in which keys the new run differs from the one that it goes on from."""
    found = [
        f"{key}={now} (was {before})"
        for key, before, now in differences(source / CONFIG_FILE, config)
        if key not in _OWN_KEYS
    ]
    logger.info("extends %s with %s", source, ", ".join(found) or "the same configuration")
