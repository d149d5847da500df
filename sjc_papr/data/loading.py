"""Views of a frame folder at the configured resolution."""

from pathlib import Path

from blender_render.dataset.readers import Views, read_views
from sjc_papr.data.config import DataConfig
from sjc_papr.data.input_checks import without_blank


def load_views(data: DataConfig, path: Path, split: str, *, with_depth: bool = True) -> Views:
    """A split at the configured resolution (both numbers zero = as on disk).

    Raises:
        InputError: see ``blender_render.dataset.readers.read_views``.
    """
    resolution = (data.width, data.height) if data.width else None
    return read_views(
        path,
        split,
        resolution=resolution,
        with_depth=with_depth,
        no_alpha=data.no_alpha,
        split_seed=data.split_seed,
    )


def load_training_views(data: DataConfig, path: Path) -> Views:
    """The training split without the images that show nothing.

    Raises:
        InputError: see ``load_views``; also where no image shows anything.
    """
    return without_blank(load_views(data, path, "train"), str(path))
