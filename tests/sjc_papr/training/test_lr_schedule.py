"""Learning rates by group and step."""

import pytest

from sjc_papr.training.config import RateConfig
from sjc_papr.training.lr_schedule import GROUPS, LRSchedule, Phase, peaks_of, single_stage


def test_single_stage_rises_peaks_and_falls() -> None:
    config = RateConfig(positions=2.0, renderer=0.5, warmup=0.1, final=0.1)
    rates = single_stage(config, 100)
    assert rates("positions", 0) == pytest.approx(0.2)
    assert rates("positions", 9) == pytest.approx(2.0)
    assert rates("positions", 99) == pytest.approx(0.2)
    values = [rates("positions", step) for step in range(100)]
    assert values[:10] == sorted(values[:10])
    assert values[9:] == sorted(values[9:], reverse=True)
    assert rates("renderer", 50) == pytest.approx(values[50] / 4.0)
    assert set(peaks_of(config)) == set(GROUPS)


def test_zero_outside_the_steps_and_for_groups_that_rest() -> None:
    rates = LRSchedule([Phase(5, {"positions": 1.0}, 0, 1.0), Phase(5, {"features": 2.0}, 0, 1.0)])
    moving = {group: [rates(group, step) for step in range(12)] for group in GROUPS}
    assert moving["positions"] == [1.0] * 5 + [0.0] * 7
    assert moving["features"] == [0.0] * 5 + [2.0] * 5 + [0.0] * 2
    assert moving["renderer"] == [0.0] * 12
    assert rates.ever("positions") and rates.ever("features") and not rates.ever("renderer")


def test_a_stage_of_no_steps_is_skipped() -> None:
    rates = LRSchedule([Phase(0, {"positions": 1.0}, 0, 1.0), Phase(3, {"features": 2.0}, 0, 1.0)])
    assert rates("positions", 0) == 0.0 and rates("features", 0) == 2.0
    assert rates.ever("features") and not rates.ever("positions")
