"""The depth of a six-view video, which only its renderer knows; ``readers`` has the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.readers import read_sample_info
from blender_render.imaging.depth import decode_depth
from training_core.config import InputError

VIEWS = 6


def read_depth(video: str | Path, frames: Sequence[int]) -> Tensor:
    """Planar depth [6, T, H, W] of a six-view video, world units, 0 = no surface.

    Raises:
        InputError: it was rendered without (``depth=all`` renders it).
    """
    scale = read_sample_info(video).get("depth_scale")
    if not isinstance(scale, int | float) or not scale > 0:
        raise InputError(f"{video}: a six-view video without depth; render it with depth=all")
    views = []
    with open_tree(video) as tree:
        for view in range(VIEWS):
            names = [f"{fmt.view_folder(view)}/{fmt.image_name(t)}_depth.png" for t in frames]
            maps = [decode_depth(tree.read_bytes(n), scale, tree.label(n)) for n in names]
            views.append(torch.from_numpy(np.stack(maps)))
    return torch.stack(views)
