"""Trainers with losses on views without images, small enough for a step in milliseconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gaussian_mixture import GaussianMixture
from tiny_scene import small_model

from blender_render.dataset.readers import Views
from sjc_papr.networks.model import Papr
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.training.config import OptimizeConfig, PatchConfig, RateConfig, WatchConfig
from sjc_papr.training.divergence import DivergenceDetector
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer

STEPS = 10
WATCH = WatchConfig(restarts=2, reduce_sjc=0.5, from_share=0.0)
TERMS = ("sjc", "near", "smooth")
MODES = (
    {"mode": "paired_l1", "stop_gradient": "none"},
    {"mode": "paired_l1", "stop_gradient": "base"},
    {"mode": "eq1_pseudo"},
    {"mode": "eq1_gt", "neighbours": 3},
)


def novel_config(*terms: str, **top: Any) -> NovelConfig:
    """Small images; the named terms (sjc, near, smooth) have weights, SJC from the first step."""
    config = NovelConfig(resolutions=[16], **top)
    config.sjc.ramp_share = 0.0
    config.sjc.weight = 0.5 * ("sjc" in terms)
    config.near.weight = 2.0 * ("near" in terms)
    config.smooth.weight = 0.3 * ("smooth" in terms)
    # All models here are new: what they show is anything but consistent.
    config.near.visibility_tolerance, config.near.alpha_threshold = 1.0, 0.1
    config.smooth.alpha_threshold = 0.1
    return config


def make_novel(
    model: Papr, config: NovelConfig, views: Views, background: float = 1.0
) -> NovelViews:
    return NovelViews(
        model,
        config,
        views,
        GaussianMixture([0.4], [0.3]),
        background=background,
        precision="float32",
        steps=STEPS,
        seed=0,
    )


def make_trainer(
    views: Views,
    folder: Path,
    config: NovelConfig | None,
    rates: RateConfig | None = None,
    *,
    seed: int = 0,
    background: float = 1.0,
    device: torch.device | None = None,
    **optimize: Any,
) -> Trainer:
    """A trainer of a new model; ``config`` None = without the novel section."""
    torch.manual_seed(seed)
    model = small_model(60).to(device)
    values = {"steps": STEPS, "patches": PatchConfig(size=10), **optimize}
    settings = OptimizeConfig(**values)
    novel = make_novel(model, config, views, background) if config and config.on else None
    watched = config is not None and config.watch.restarts > 0
    return Trainer(
        model,
        PatchSampler(views, background, settings.patches, 0, device),
        settings,
        single_stage(rates or RateConfig(), settings.steps),
        background=background,
        precision="float32",
        seed=0,
        fault_folder=folder,
        auxiliary=novel,
        divergence=DivergenceDetector(config.watch, settings.steps) if config and watched else None,
    )


def with_near(config: NovelConfig, mode: dict[str, Any]) -> NovelConfig:
    config.near = replace(config.near, **mode)
    return config


def mode_name(mode: dict[str, Any]) -> str:
    """Of a test."""
    return "_".join(map(str, mode.values()))
