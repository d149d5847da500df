"""Whether something can be written somewhere, asked before any work."""

import os
from pathlib import Path

from training_core.config import ConfigError


def refuse_unusable(folder: str | Path, key: str) -> None:
    """Refuse a place where no folder can be: a file is in its way, or it may not be written to.

    Args:
        key: the option that says the place, for the message.

    Raises:
        ConfigError: naming the key and what is in the way.
    """
    place = Path(folder).absolute()
    there = next(path for path in (place, *place.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ConfigError(f"{key}: {there} is in the way: not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}: {there} cannot be written to")
