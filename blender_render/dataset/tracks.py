"""True paths of points on the asset's surface, beside the pictures: ``surface_tracks.npy``.

A float32 array [T, N, 3] of NumPy's own format: where each of N points of the surface is in every
rendered frame, in order, in the dataset's world (the object's longest side over all frames is 1).
The points lie evenly over what the pictures of the first frame show of the surface.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blender_render.dataset.archive import open_tree
from training_core.config import InputError
from training_core.files.atomic import write_bytes

TRACKS_FILE = "surface_tracks.npy"

Tracks = npt.NDArray[np.float32]


def write_tracks(folder: Path, tracks: Tracks) -> None:
    """Write [T, N, 3] into a dataset's folder."""
    content = io.BytesIO()
    np.save(content, tracks.astype(np.float32), allow_pickle=False)
    write_bytes(folder / TRACKS_FILE, content.getvalue())


def read_tracks(dataset: str | Path) -> Tracks | None:
    """Paths [T, N, 3] of a dataset (folder or .zip); None where it has none.

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    with open_tree(dataset) as tree:
        if not tree.exists(TRACKS_FILE):
            return None
        label = tree.label(TRACKS_FILE)
        try:
            tracks = np.load(io.BytesIO(tree.read_bytes(TRACKS_FILE)), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise InputError(f"{label}: not readable: {error}") from None
    fits = isinstance(tracks, np.ndarray) and tracks.ndim == 3 and tracks.shape[2] == 3
    if not fits or tracks.dtype.kind != "f" or not tracks.size or not np.isfinite(tracks).all():
        raise InputError(f"{label}: finite numbers [T, N, 3] are expected")
    return tracks.astype(np.float32)
