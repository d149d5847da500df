"""What must be right with training views before anything is trained; ``validate`` asks the same."""

import logging
from dataclasses import replace

import torch

from blender_render.dataset.checks import pose_problems
from blender_render.dataset.readers import Views
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
    )


def check_poses(views: Views, data: DataConfig, where: str) -> None:
    """Poses must belong to the images.

    Raises:
        InputError: they do not, and ``data.check`` is on.
    """
    masks = list((views.images[..., 3] >= 0.5).numpy())
    for problem in pose_problems(views.cameras, masks, where):
        outlines_only = "outlines" in problem
        if data.check and not (outlines_only and len(views) <= FEW_VIEWS):
            raise InputError(
                f"{problem} (python -m blender_render.validate names every fault; "
                "data.check=false trains all the same)"
            )
        logger.warning("%s", problem)
