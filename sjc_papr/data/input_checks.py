"""What must be right with training views before anything is trained; ``validate`` asks the same."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from blender_render.dataset.archive import open_tree
from blender_render.dataset.checks import held_out_problems, pose_problems
from blender_render.dataset.readers import Views
from blender_render.dataset.transforms import split_label
from blender_render.geometry.pose_checks import OutlineProblem
from sjc_papr.data.config import DataConfig
from training_core.config import InputError

logger = logging.getLogger(__name__)

# So few views may have been drawn by a model, whose outlines need not agree exactly.
FEW_VIEWS = 7


def without_blank(views: Views, where: str) -> Views:
    """The views that show something; a warning names the others.

    Raises:
        InputError: none does.
    """
    shown = (views.images[..., 3] >= 0.5).flatten(1).any(dim=1)
    if bool(shown.all()):
        return views
    blank = [name for name, there in zip(views.names, shown.tolist(), strict=True) if not there]
    if len(blank) == len(views):
        raise InputError(f"{where}: nothing in any training picture, alpha is 0 everywhere")
    logger.warning(
        "%s: nothing in %d of %d training pictures, left out: %s",
        where,
        len(blank),
        len(views),
        ", ".join(blank[:5]) + (", ..." if len(blank) > 5 else ""),
    )
    return pick_views(views, torch.nonzero(shown).flatten().tolist())


def pick_views(views: Views, indices: list[int]) -> Views:
    """Some of the views, in the order of ``indices``."""
    return replace(
        views,
        images=views.images[indices],
        cameras=tuple(views.cameras[i] for i in indices),
        depth=None if views.depth is None else views.depth[indices],
        names=tuple(views.names[i] for i in indices),
        redrawn=tuple(n for n, i in enumerate(indices) if i in views.redrawn),
    )


def check_poses(views: Views, data: DataConfig, where: str) -> None:
    """Poses must belong to the images.

    Raises:
        InputError: they do not, and ``data.check`` is on.
    """
    for problem in pose_problems(views.cameras, _masks(views), where):
        _refuse_or_warn(problem, data, len(views))


def check_held_out(
    train: Views, folder: Path, held_out: Mapping[str, Views | None], data: DataConfig
) -> None:
    """Held-out images must show the object of the training images from where they say.

    Args:
        folder: frame folder of the held-out images.
        held_out: by split; None is not looked at.

    Raises:
        InputError: they do not, and ``data.check`` is on.
    """
    others = {
        _file_of(folder, split): (views.cameras, _masks(views))
        for split, views in held_out.items()
        if views is not None
    }
    for problem in held_out_problems((train.cameras, _masks(train)), others):
        _refuse_or_warn(problem, data, len(train))


def _file_of(folder: Path, split: str) -> str:
    """The JSON file that says which images a split has."""
    with open_tree(folder) as tree:
        return split_label(tree, split)


def _masks(views: Views) -> list[npt.NDArray[np.bool_]]:
    return list((views.images[..., 3] >= 0.5).numpy())


def _refuse_or_warn(problem: str, data: DataConfig, training_views: int) -> None:
    is_uncertain = isinstance(problem, OutlineProblem) and training_views <= FEW_VIEWS
    if data.check and not is_uncertain:
        raise InputError(
            f"{problem} (python -m blender_render.validate names every fault; "
            "data.check=false trains all the same)"
        )
    logger.warning("%s", problem)
