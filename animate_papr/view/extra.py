"""The browser's side comes from viser, which not every machine has."""

from typing import Any

from training_core.config import InputError


def import_viser() -> Any:
    """The module. Raises InputError with the command that installs it."""
    try:
        import viser
    except ImportError:
        raise InputError(
            "the viewer needs viser: scripts/setup_env.sh .venv render,dev,mnvs,viewer "
            "(or pip install 'videopapr[viewer]') installs it; animate_papr.report needs nothing"
        ) from None
    return viser
