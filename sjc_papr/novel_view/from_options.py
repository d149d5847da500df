"""From options to the losses on novel views: what can be checked and said of them before anything
is trained, and how they are made.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera
from sjc_papr.networks.model import Papr
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.novel_view.score_loading import check_score, load_score
from sjc_papr.novel_view.silhouette import HullGrid
from sjc_papr.novel_view.sjc import check_condition_view
from sjc_papr.novel_view.target_cameras import TargetCameras
from sjc_papr.score_models.base import ScoreModel
from sjc_papr.training.divergence import DivergenceDetector
from training_core.config import ConfigError


def check_score_of(config: NovelConfig) -> None:
    """Raises ConfigError or InputError where SJC is on and its score model is not there."""
    if config.sjc.weight:
        check_score(config.sjc.score)


def score_of(config: NovelConfig, device: torch.device) -> ScoreModel | None:
    """The score model, loaded; None where SJC is off. Raises what ``check_score_of`` raises."""
    if not config.sjc.weight:
        return None
    return load_score(config.sjc.score, config.object_length, device)


def make_novel(
    config: NovelConfig,
    model: Papr,
    views: Views,
    score: ScoreModel | None,
    *,
    background: float,
    precision: str,
    steps: int,
    seed: int,
) -> NovelViews | None:
    """The losses of a training of so many steps; None where no term has a weight.

    Args:
        views: the training views. score: what ``score_of`` gave.
        background: grey level behind the object. precision: see ``sjc_papr.networks.precision``.
    """
    if not config.on:
        return None
    return NovelViews(
        model,
        config,
        views,
        score,
        background=background,
        precision=precision,
        steps=steps,
        seed=seed,
    )


def make_watch(config: NovelConfig, steps: int) -> DivergenceDetector | None:
    """What watches such a training; None where no restart is allowed."""
    return DivergenceDetector(config.watch, steps) if config.watch.restarts else None


def hull_test(config: NovelConfig, views: Views) -> Callable[[Tensor], Tensor]:
    """Which of some places [N, 3] the masks' visual hull holds, bool [N]."""
    masks, grid = views.images[..., 3], config.silhouette.resolution
    hull = HullGrid(masks, views.cameras, grid, config.object_length)
    return lambda places: hull.holds(places.cpu()).to(places.device)


def check_novel(config: NovelConfig, cameras: Sequence[Camera]) -> None:
    """Raises ConfigError where the terms cannot work with these training cameras."""
    if not config.on:
        return
    TargetCameras(cameras, config.targets, config.object_length)
    if config.sjc.weight:
        check_condition_view(config.sjc, len(cameras))
        if config.sjc.condition == "nearest":
            _check_count("sjc.conditions", config.sjc.conditions, len(cameras))
    if config.near.weight and config.near.mode == "eq1_gt":
        _check_count("near.neighbours", config.near.neighbours, len(cameras))


def _check_count(key: str, count: int, views: int) -> None:
    if count > views:
        raise ConfigError(
            f"novel.{key}: {count} views are asked for, but there are {views} training views"
        )


def describe_novel(config: NovelConfig) -> list[str]:
    """A line for ``--dry-run`` on the terms that are on; none where none is."""
    if not config.on:
        return []
    sides = ", then ".join(f"{side} px" for side in config.resolutions)
    parts = {
        f"SJC from {config.sjc.score.model} ({config.sjc.weight:g})": config.sjc.weight,
        f"near views by {config.near.mode} ({config.near.weight:g})": config.near.weight,
        f"depth smoothing ({config.smooth.weight:g})": config.smooth.weight,
        f"nothing outside the hull ({config.silhouette.outside:g})": config.silhouette.outside,
        f"no holes in its core ({config.silhouette.core:g})": config.silhouette.core,
    }
    terms = ", ".join(part for part, weight in parts.items() if weight)
    return [f"every {config.every} steps a view without a picture, {sides}: {terms}"]
