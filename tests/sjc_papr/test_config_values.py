"""Values that make no run are refused while the config is read, not by a traceback later."""

from pathlib import Path

import pytest
from refusals import assert_refused

from animate_papr.config import AnimateConfig
from sjc_papr import train
from sjc_papr.config import TrainConfig
from sjc_papr.feed_forward.config import TrainDepthConfig
from sjc_papr.prior.config import TrainPriorConfig
from sjc_papr.pseudo_views.config import TrainPseudoViewsConfig
from sjc_papr.training.config import RateConfig
from sjc_papr.training.lr_schedule import peaks_of
from training_core.config import ConfigError, load_config


@pytest.mark.parametrize(
    "override",
    [
        "data.width=240",
        "data.background=2",
        "points.count=0",
        "model.neighbours=0",
        "model.attention.value_layers=1",
        "model.attention.value_skips=[9]",
        "model.attention.bandwidth=0",
        "optimize.steps=-5",
        "optimize.patches.size=2",
        "optimize.patches.per_step=0",
        "optimize.losses.mse=0",
        "optimize.drop_points=1",
        "optimize.vary_background=-0.1",
        "optimize.density.hull_events=-1",
        "points.fill_distance=-1",
        "novel.silhouette.core_depth=0",
        "pseudo.count=-1",
        "pseudo.count=100000",
        "pseudo.share=1.5",
        "corrections.colours=-1",
        "corrections.poses=-1",
        "optimize.rates.final=1.5",
        "optimize.rates.positions=-1",
        "optimize.density.grow_until=2",
        "log.every=0",
        "log.keep_last=0",
    ],
)
def test_values_that_make_no_training(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TrainConfig, None, [override])
    section, name = override.split("=")[0].rsplit(".", 1)
    assert section in str(caught.value) and "\n" not in str(caught.value)
    assert name in str(caught.value) or "weights" in str(caught.value)


@pytest.mark.parametrize(
    "override, words",
    [
        ("points.count=100000000000", "count must be at most 10,000,000, is 100,000,000,000"),
        ("points.count=1e11", "points.count: expected int"),
        ("points.hull_resolution=2000", "hull_resolution must be at most 1,000, is 2,000"),
        ("optimize.density.grow_count=20000000", "grow_count must be at most 10,000,000"),
        ("optimize.density.max_points=100000000000", "max_points must be at most 10,000,000"),
    ],
)
def test_more_than_any_memory_holds_is_refused_before_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    assert_refused(train.main, [f"data.path={tmp_path}", override, "--dry-run"], capsys, words)


@pytest.mark.parametrize(
    "override",
    [
        "next.align.surface_points=100000000000",
        "next.motion.neighbours=0",
        "next.motion_share=1.5",
        "next.motion_rate=0",
        "next.align.rate=0",
        "next.align.pictures.nodes=0",
        "next.align.pictures.nodes=100000",
        "next.align.pictures.side=4",
        "next.align.pictures.views=0",
        "next.align.pictures.colour=-1",
        "next.align.pictures.rate=0",
        "next.align.pictures.blur=1.5",
        "next.align.pictures.sharp=0.5",
        "next.align.pictures.loose=100",
        "next.steps=0",
    ],
)
def test_values_that_make_no_animation(override: str) -> None:
    with pytest.raises(ConfigError, match="next"):
        load_config(AnimateConfig, None, [override])


def test_everything_frozen_is_refused() -> None:
    groups = ("positions", "influence", "features", "attention", "renderer")
    with pytest.raises(ConfigError, match="frozen"):
        load_config(AnimateConfig, None, [f"next.freeze.{group}=true" for group in groups])


# Those of trainings of networks; all others are of PAPR.
OF_NETWORKS = {
    "prior": TrainPriorConfig,
    "depth": TrainDepthConfig,
    "pseudo_views": TrainPseudoViewsConfig,
}
CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "sjc_papr").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_in_the_repository_is_valid(path: Path) -> None:
    assert len(CONFIGS) >= 12
    schema, given = OF_NETWORKS.get(path.stem, TrainConfig), []
    if schema is TrainConfig:  # the sparse-view family asks for its video
        given = ["data.path=here", "sparse.sixview=there"]
    assert load_config(schema, path, given).optimize.steps >= 1000


@pytest.mark.parametrize(
    ("experiment", "weight", "factor"), [(1, 1, 1e-4), (2, 1e5, 1e-4), (3, 1e5, 1e-7)]
)
def test_table_1_of_the_report_is_as_printed(experiment: int, weight: float, factor: float) -> None:
    """The reference's committed configs hold none of these numbers."""
    path = next(path for path in CONFIGS if path.stem == f"table1_{experiment}")
    config = load_config(TrainConfig, path, ["sparse.sixview=there"])
    novel = config.novel
    assert (config.optimize.losses.mse, novel.near.weight, novel.smooth.weight) == (weight,) * 3
    assert (novel.sjc.weight, novel.sjc.guidance) == (1.0, 100.0)
    assert (novel.sjc.reduction, novel.near.reduction, novel.near.mode) == ("sum", "sum", "eq1_gt")
    peaks = peaks_of(config.optimize.rates)
    assert peaks["positions"] == pytest.approx(factor * RateConfig().positions)
