"""One picture of something else among six: found, drawn anew, and nothing else touched."""

import pytest
import torch
from six_balls import SHIFTS, body, rolled, with_mirrored

from sjc_papr.data import odd_view, placement
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.odd_view import find_odd_view, redrawn, shown_by_others

ODD = 2


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_STEPS", 31)


@pytest.mark.parametrize("odd", [ODD, 4])
def test_the_odd_view_is_found(odd: int) -> None:
    assert find_odd_view(with_mirrored(body(), odd)) == odd


def test_one_moved_view_is_not_odd() -> None:
    assert find_odd_view(rolled(body(), [(0, 0), (0, 0), (0, 0), (4, -3), (0, 0), (0, 0)])) is None


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


def test_the_redrawn_picture_stands_in_its_place_without_depth() -> None:
    views = body(depth=True)
    new = redrawn(with_mirrored(views, ODD), ODD)
    assert torch.equal(new.images[ODD], shown_by_others(views, ODD)) and new.redrawn == (ODD,)
    others = [0, 1, 3, 4, 5]
    assert torch.equal(new.images[others], views.images[others])
    assert new.depth is not None and views.depth is not None
    assert torch.equal(new.depth[others], views.depth[others]) and not new.depth[ODD].any()


def test_a_large_picture_is_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    views = body()
    whole = shown_by_others(views, ODD)
    monkeypatch.setattr(odd_view, "_PIXELS", 1000)
    assert torch.allclose(shown_by_others(views, ODD), whole, atol=1e-5)
