"""Views of a frame folder at the configured resolution."""

from pathlib import Path

from blender_render.dataset.readers import Views, read_views
from sjc_papr.data.config import DataConfig


def load_views(data: DataConfig, path: Path, split: str) -> Views:
    """A split at the configured resolution (both numbers zero = as on disk).

    Raises:
        InputError: see ``blender_render.dataset.readers.read_views``.
    """
    resolution = (data.width, data.height) if data.width else None
    return read_views(path, split, resolution=resolution)
