"""When a frame ends, what its rates then are, and that a continued run decides alike."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_animation import arguments, assert_same_checkpoint, write_animation
from tiny_scene import small_model, sphere_views

from animate_papr import train
from animate_papr.following.config import PlateauConfig
from animate_papr.following.plateau import Plateau, trained_quality
from sjc_papr.evaluation.view_metrics import evaluate_views
from sjc_papr.training.lr_schedule import LRSchedule, Phase
from sjc_papr.training.trainer import Trainer

MOVING, REST, PEAK = 40, 60, 1e-2


def plateau(**options: Any) -> Plateau:
    """Of 40 steps of positions and 60 of everything, the last 20 with falling rates."""
    schedule = LRSchedule(
        [
            Phase(MOVING, {"positions": 1.0}, 0, 0.1),
            Phase(REST, {"positions": PEAK, "features": PEAK}, 4, 0.1),
        ]
    )
    return Plateau(PlateauConfig(every=10, **{"finish": 0.2, **options}), schedule)


def test_it_is_measured_while_rates_are_held() -> None:
    assert [done for done in range(101) if plateau().due(done)] == [40, 50, 60, 70]


def test_what_keeps_getting_better_makes_all_steps() -> None:
    found = plateau(gain=0.5, patience=1)
    for i, done in enumerate((40, 50, 60, 70)):
        found.add(done, 20.0 + 0.6 * i)
    assert (found.begin, found.steps) == (80, 100)


@pytest.mark.parametrize(("patience", "ends"), [(1, 50), (2, 60)])
def test_what_stands_still_ends(patience: int, ends: int) -> None:
    found = plateau(gain=0.5, patience=patience)
    for done in (40, 50, 60, 70):
        if found.due(done):
            found.add(done, 20.0)
    assert (found.begin, found.steps) == (ends, ends + 20)
    assert not found.due(70)


def test_one_bad_measurement_of_two_is_forgiven() -> None:
    found = plateau(gain=0.5, patience=2)
    for done, quality in ((40, 20.0), (50, 19.0), (60, 21.0), (70, 20.0)):
        found.add(done, quality)
    assert found.begin == 80


def test_rates_are_held_and_then_fall() -> None:
    found = plateau(gain=0.5, patience=1)
    before = found.schedule()
    assert before("positions", 0) > before("positions", 39) and before("features", 39) == 0.0
    assert before("features", 40) < PEAK == before("features", 50) == before("features", 79)
    assert before("features", 99) == pytest.approx(0.1 * PEAK)
    for done in (40, 50):
        found.add(done, 20.0)
    after = found.schedule()
    same = [after("features", step) == before("features", step) for step in range(50)]
    assert all(same), "what was trained with is what it would have been"
    falling = [after("features", step) for step in range(49, 70)]
    assert falling == sorted(falling, reverse=True) and falling[-1] == pytest.approx(0.1 * PEAK)
    assert after("features", 70) == 0.0


def test_the_whole_stage_may_be_the_fall() -> None:
    found = plateau(finish=1.0)
    assert (found.begin, found.steps) == (MOVING, 100)
    assert found.schedule()("features", 99) == pytest.approx(0.1 * PEAK)
    assert not any(found.due(done) for done in range(101))


def test_quality_is_that_of_training_views_on_their_own() -> None:
    torch.manual_seed(0)
    model, views = small_model(60), sphere_views(5)
    config = PlateauConfig(every=1, views=5, side=64)
    found = trained_quality(model, views, config, background=1.0, precision="float32")()
    truth = evaluate_views(model, views, background=1.0, precision="float32")
    assert found == pytest.approx(sum(view.psnr for view in truth) / 5, abs=1e-3)


class PowerCutError(Exception):
    """Ends a run at a step, as a lost machine would."""


def test_a_run_cut_off_ends_at_the_same_step_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_animation(tmp_path / "sphere")
    options = ("every=2", "gain=100", "patience=1", "finish=0.2", "views=2", "side=8")
    more = (
        *("first.steps=4", "next.steps=30", "next.motion_share=0.2", "next.align.steps=0"),
        "next.preset=motion",
        *("frames=[frame_000,frame_001]", "log.checkpoint_every=3"),
        *(f"next.plateau.{option}" for option in options),
    )
    assert train.main(arguments(dataset, tmp_path / "whole", *more)) == 0
    whole_step = Trainer.step
    # Six steps of positions; measured after them and two later, which is no gain of 100 dB.
    for cut in (7, 11):

        def step(self: Trainer, at: int, *, cut: int = cut, **kept: Any) -> Any:
            if self.config.steps == 30 and at == cut:
                raise PowerCutError
            return whole_step(self, at, **kept)

        monkeypatch.setattr(Trainer, "step", step)
        with pytest.raises(PowerCutError):
            train.main(arguments(dataset, tmp_path / "cut", *more))
    monkeypatch.setattr(Trainer, "step", whole_step)
    assert train.main(arguments(dataset, tmp_path / "cut", *more)) == 0
    folders = [
        tmp_path / name / "animate_papr" / "tiny" / "frames" / "frame_001"
        for name in ("cut", "whole")
    ]
    assert_same_checkpoint(*folders, 14)
    for folder in folders:
        assert json.loads((folder / "metrics.json").read_text())["steps"] == 14
