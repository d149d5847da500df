"""What can be checked and said of the losses on novel views before anything is trained."""

from collections.abc import Sequence

from blender_render.geometry.cameras import Camera
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.novel_view.sjc import check_condition_view
from sjc_papr.novel_view.target_cameras import TargetCameras
from training_core.config import ConfigError


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
