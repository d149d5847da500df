"""Training views mended: what is done, in which order, and that a run remembers it."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from six_balls import SHIFTS, body, rolled, with_mirrored
from torch import Tensor

from sjc_papr.data import mending, placement
from sjc_papr.data.mending import MENDED_FILE, Mending, find_mending, mending_of_run, views_to_train
from sjc_papr.data.view_corrections import CorrectionsConfig
from sjc_papr.data.world import World
from training_core.config import InputError

ODD = 2
BOTH = CorrectionsConfig(outlines=True, odd_view=True)


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_STEPS", 31)


def overlap(alpha: Tensor, truth: Tensor) -> float:
    return float(torch.minimum(alpha, truth).sum() / torch.maximum(alpha, truth).sum())


def test_what_agrees_is_left_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    views = body()
    assert find_mending(views, BOTH).apply(views) is views
    assert find_mending(rolled(views, SHIFTS), CorrectionsConfig()) == Mending()
    assert not caplog.records


def test_moved_pictures_are_put_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    views = rolled(body(depth=True), SHIFTS)
    found = find_mending(views, CorrectionsConfig(outlines=True))
    assert "outlines did not agree: pictures moved by" in caplog.text
    mended = found.apply(views)
    assert found.odd_view is None and mended.redrawn == ()
    gap = placement.find_placement(mended.images[..., 3], mended.cameras).gap_before
    assert gap < placement.WORTH_MOVING
    assert mended.depth is not None and views.depth is not None
    assert not torch.equal(mended.depth, views.depth)


def test_a_moved_object_with_an_odd_view_is_mended(caplog: pytest.LogCaptureFixture) -> None:
    clean = body()
    spoiled = with_mirrored(rolled(clean, SHIFTS), ODD)
    mended = find_mending(spoiled, BOTH).apply(spoiled)
    assert f"view_{ODD}/000 does not show what the other 5 views show" in caplog.text
    assert mended.redrawn == (ODD,) and mended.cameras == clean.cameras
    truth = clean.images[ODD, ..., 3]
    found = overlap(mended.images[ODD, ..., 3], truth)
    assert found > 0.6 and found > 0.1 + overlap(spoiled.images[ODD, ..., 3], truth)


def test_what_moving_does_not_mend_is_said_and_left(caplog: pytest.LogCaptureFixture) -> None:
    views = with_mirrored(body(), 1, 3)
    assert find_mending(views, CorrectionsConfig(outlines=True)).apply(views) is views
    assert "moving the pictures does not help" in caplog.text


def test_a_run_remembers_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = with_mirrored(rolled(body(), SHIFTS), ODD)
    first = mending_of_run(tmp_path, views, BOTH)
    assert first.odd_view == ODD and first.shift is not None
    monkeypatch.setattr(mending, "find_mending", None)
    assert mending_of_run(tmp_path, views, BOTH) == first
    again = views_to_train(views, World(), BOTH, tmp_path)
    assert torch.equal(again.images, first.apply(views).images)


def test_nothing_is_written_where_nothing_is_asked_or_no_folder_is(tmp_path: Path) -> None:
    views = body()
    assert mending_of_run(tmp_path, views, CorrectionsConfig()) == Mending()
    assert mending_of_run(tmp_path / "none", views, BOTH) == Mending()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        {"other": 1},
        {"odd_view": 6, "shift": None, "zoom": None},
        {"odd_view": "two"},
        {"shift": [[0.0, 0.0]] * 6, "zoom": None},
        {"shift": [[0.0, 0.0]] * 5, "zoom": [0.0] * 5},
        {"odd_view": 1, "shift": [[0.0, 0.0]] * 6, "zoom": [0.0] * 6},
        {"shift": [[0.0, "a"]] * 6, "zoom": [0.0] * 6},
        {"shift": [[0.0, 0.0]] * 6, "zoom": [float("inf")] * 6},
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / MENDED_FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{MENDED_FILE}: not a record of how 6 views"):
        mending_of_run(tmp_path, body(), BOTH)


def test_a_view_counted_from_the_end_is_the_same_view(tmp_path: Path) -> None:
    (tmp_path / MENDED_FILE).write_text(json.dumps({"odd_view": -1}))
    assert mending_of_run(tmp_path, body(), BOTH) == Mending(5)


def test_runs_take_views_in_their_world() -> None:
    views, world = rolled(body(), SHIFTS), World((0.1, 0.0, 0.0), 2.0)
    as_they_are = views_to_train(views, world, CorrectionsConfig())
    assert torch.equal(as_they_are.images, views.images)
    for one, other in zip(as_they_are.cameras, world.cameras(views.cameras), strict=True):
        assert np.array_equal(one.cam_to_world, other.cam_to_world)
