"""One picture of something else among six: found, drawn anew, and nothing else touched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from six_balls import SHIFTS, SIDE, body, rolled

from blender_render.dataset.readers import Views
from sjc_papr.data import outlines
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.odd_view import (
    find_odd_view,
    shown_by_others,
    views_to_train,
    with_odd_view_redrawn,
)
from sjc_papr.data.outlines import with_agreeing_outlines
from sjc_papr.data.view_corrections import CorrectionsConfig
from sjc_papr.data.world import World

ODD = 2


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "_STEPS", 31)


def with_mirrored(views: Views, *odd: int) -> Views:
    """Some of the pictures left for right."""
    images = views.images.clone()
    for view in odd:
        images[view] = images[view].flip(1)
    return replace(views, images=images)


def test_the_odd_view_is_found() -> None:
    assert find_odd_view(with_mirrored(body(), ODD)) == ODD


def test_nothing_is_odd_where_all_agree_or_more_than_one_does_not() -> None:
    assert find_odd_view(body()) is None
    assert find_odd_view(rolled(body(), SHIFTS)) is None
    assert find_odd_view(with_mirrored(body(), 1, 2, 5)) is None
    four = pick_views(with_mirrored(body(), ODD), [0, 1, ODD, 4])
    assert find_odd_view(four) is None


def test_the_others_show_where_the_object_is() -> None:
    views = body()
    found = shown_by_others(with_mirrored(views, ODD), ODD)
    truth = views.images[ODD, ..., 3] > 0.5
    covered = found[..., 3] > 0.5
    assert (covered & truth).sum() > 0.97 * truth.sum()
    # The hull of five outlines is larger than the object, by what none of them cuts away.
    assert truth.sum() <= covered.sum() < 1.5 * truth.sum()


def test_it_takes_the_colours_of_those_that_see_it() -> None:
    views = body()
    seen = views.images[:, 0, 0, :3]
    picture = shown_by_others(views, ODD)
    found = picture[..., :3][(views.images[ODD, ..., 3] > 0.5) & (picture[..., 3] > 0.5)]
    others = torch.cat([seen[:ODD], seen[ODD + 1 :]])
    assert (found >= others.amin(0) - 1e-5).all() and (found <= others.amax(0) + 1e-5).all()
    # Each picture has a colour of its own, and the neighbours see most of what the odd one should.
    neighbours = 0.5 * (seen[ODD - 1] + seen[ODD + 1])
    opposite = seen[(ODD + 3) % 6]
    mean = found.mean(0)
    assert float((mean - neighbours).norm()) < float((mean - opposite).norm())


def test_a_moved_object_with_an_odd_view_is_mended(caplog: pytest.LogCaptureFixture) -> None:
    clean = body(depth=True)
    spoiled = with_mirrored(rolled(clean, SHIFTS), ODD)
    mended = with_odd_view_redrawn(spoiled)
    assert f"view_{ODD}/000 does not show what the other 5 views show" in caplog.text
    assert mended.depth is None and mended.redrawn == (ODD,) and mended.cameras == clean.cameras
    truth, found = (views.images[ODD, ..., 3] for views in (clean, mended))
    overlap = (torch.minimum(truth, found).sum() / torch.maximum(truth, found).sum()).item()
    before = spoiled.images[ODD, ..., 3]
    assert overlap > 0.6
    assert overlap > 0.1 + float(
        torch.minimum(truth, before).sum() / torch.maximum(truth, before).sum()
    )
    assert with_odd_view_redrawn(clean) is clean


def test_runs_take_views_in_their_world_and_mended_where_asked() -> None:
    views = rolled(body(), SHIFTS)
    world = World((0.1, 0.0, 0.0), 2.0)
    as_they_are = views_to_train(views, world, CorrectionsConfig())
    assert torch.equal(as_they_are.images, views.images)
    for one, other in zip(as_they_are.cameras, world.cameras(views.cameras), strict=True):
        assert np.array_equal(one.cam_to_world, other.cam_to_world)
    moved = views_to_train(views, World(), CorrectionsConfig(outlines=True))
    assert torch.equal(moved.images, with_agreeing_outlines(views).images)
    odd = with_mirrored(body(), ODD)
    redrawn = views_to_train(odd, World(), CorrectionsConfig(odd_view=True))
    assert torch.equal(redrawn.images[ODD], shown_by_others(odd, ODD))
    assert redrawn.images.shape == (6, SIDE, SIDE, 4)
