"""How strong SJC is beside the photometric loss, and what counts as divergence."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_novel import WATCH, make_trainer, novel_config

from blender_render.dataset.readers import Views
from sjc_papr.novel_view.config import BalanceConfig
from sjc_papr.novel_view.gradient_balance import GradientBalance
from sjc_papr.training.divergence import DivergenceDetector
from training_core.step.guards import Diverged


def test_fixed_weights_are_left_as_they_are() -> None:
    balance = GradientBalance(BalanceConfig())
    balance.update("photometric", 3.0)
    balance.update("sjc", 200.0)
    assert balance.factor() == 1.0


def test_factor_is_the_ratio_of_the_running_means() -> None:
    balance = GradientBalance(BalanceConfig("gradient_norm", memory=0.75))
    assert balance.factor() == 1.0, "nothing is known yet"
    norms = {"photometric": [2.0, 6.0, 2.0], "sjc": [100.0, 20.0, 60.0]}
    for name, seen in norms.items():
        for value in seen:
            balance.update(name, value)
    photometric, sjc = 2.0, 100.0
    for i in (1, 2):
        photometric = 0.75 * photometric + 0.25 * norms["photometric"][i]
        sjc = 0.75 * sjc + 0.25 * norms["sjc"][i]
    assert balance.factor() == pytest.approx(photometric / sjc)
    balance.update("sjc", math.nan)
    balance.update("photometric", math.inf)
    assert balance.factor() == pytest.approx(photometric / sjc), "a bad number is not remembered"


def test_factor_has_a_bound() -> None:
    balance = GradientBalance(BalanceConfig("gradient_norm", largest=50.0))
    balance.update("photometric", 1.0)
    balance.update("sjc", 1e-9)
    assert balance.factor() == 50.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_sjcs_gradient_is_kept_at_its_weight_times_the_photometric(
    views: Views, tmp_path: Path, scale: float
) -> None:
    """Whatever the score model's own scale: the report needed 1e5 against 1."""
    config = novel_config("sjc")
    config.balance = BalanceConfig("gradient_norm", memory=0.0, largest=1e9)
    trainer = make_trainer(views, tmp_path, config)
    surrogate = trainer.auxiliary.sjc
    trainer.auxiliary.sjc = lambda *x: (r := surrogate(*x))._replace(loss=scale * r.loss)
    trainer.auxiliary.sjc.model = surrogate.model
    for step in range(3):
        logged = trainer.step(step)
        ratio = logged["picture_gradient/sjc"] / logged["picture_gradient/photometric"]
        assert ratio.item() == pytest.approx(config.sjc.weight, rel=1e-4)


def test_fixed_gradient_follows_the_scale(views: Views, tmp_path: Path) -> None:
    norms = []
    for weight in (0.5, 5.0):
        config = novel_config("sjc")
        config.sjc.weight = weight
        logged = make_trainer(views, tmp_path, config).step(0)
        norms.append(logged["picture_gradient/sjc"].item())
        assert logged["sjc/weight"].item() == weight
    assert norms[1] == pytest.approx(10.0 * norms[0], rel=1e-5)


def judged(watch: DivergenceDetector, loss: float, norm: float, steps: range) -> None:
    for step in steps:
        watch.check(step, loss, norm)


def test_watch_sees_an_exploding_gradient_at_once() -> None:
    watch = DivergenceDetector(WATCH, 100)
    judged(watch, 1.0, 2.0, range(10))
    watch.check(10, 1.0, 199.0)
    with pytest.raises(Diverged, match=r"step 11: gradient norm 900, \d+ times the usual"):
        watch.check(11, 1.0, 900.0)


def test_watch_sees_a_loss_that_rises_for_good_but_not_one_bad_patch() -> None:
    watch = DivergenceDetector(replace(WATCH, memory=0.9), 1000)
    judged(watch, 0.01, 1.0, range(50))
    watch.check(50, 0.3, 1.0)
    judged(watch, 0.01, 1.0, range(51, 80))
    with pytest.raises(Diverged, match=r"photometric loss .* after 0\.01 at its best"):
        judged(watch, 0.2, 1.0, range(80, 100))


def test_watch_compares_with_the_best_not_with_the_latest() -> None:
    """A loss that creeps up is as lost as one that jumps."""
    watch = DivergenceDetector(replace(WATCH, memory=0.5), 1000)
    with pytest.raises(Diverged, match="at its best"):
        for step in range(300):
            watch.check(step, 0.01 * 1.02**step, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_watch_sees_bad_numbers(bad: float) -> None:
    for loss, norm in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(Diverged, match="step 0"):
            DivergenceDetector(replace(WATCH, from_share=1.0), 100).check(0, loss, norm)


def test_watch_does_not_judge_the_start_and_can_be_off() -> None:
    watch = DivergenceDetector(replace(WATCH, from_share=0.5), 100)
    judged(watch, 1.0, 1.0, range(25))
    judged(watch, 50.0, 500.0, range(25, 50))
    off = DivergenceDetector(replace(WATCH, restarts=0), 100)
    judged(off, 1.0, 1.0, range(25))
    off.check(25, math.nan, 1e9)


def test_watch_gives_up_after_enough_restarts_and_remembers_them() -> None:
    watch, fault = DivergenceDetector(WATCH, 100), Diverged("step 7: lost")
    judged(watch, 1.0, 1.0, range(5))
    saved = json.loads(json.dumps(watch.state_dict()))
    for scale in (0.5, 0.25):
        watch.restart(fault)
        watch.load_state_dict(saved)
        assert watch.scale == scale and watch.state["loss"] == 1.0
    with pytest.raises(Diverged, match="lost"):
        watch.restart(fault)
    # Another process that loads a later checkpoint knows how often that was.
    other = DivergenceDetector(WATCH, 100)
    other.load_state_dict(json.loads(json.dumps(watch.state_dict())))
    assert (other.scale, other.restarts) == (0.25, 2)
    with pytest.raises(Diverged, match="lost"):
        other.restart(fault)


def test_a_fresh_watch_survives_a_checkpoint() -> None:
    """Its best loss is infinite, which JSON has no word for."""
    watch = DivergenceDetector(WATCH, 100)
    watch.load_state_dict(json.loads(json.dumps(DivergenceDetector(WATCH, 100).state_dict())))
    judged(watch, 1.0, 1.0, range(3))
    assert watch.state["least"] == 1.0
