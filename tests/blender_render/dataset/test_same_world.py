"""Two datasets are of one world, or refused by name."""

import math
from typing import Any

import pytest

from blender_render.dataset.same_world import check_same_world
from training_core.config import InputError

WORLD: dict[str, Any] = {"scale": 2.0, "offset": [0.0, 1.0, -3.0]}
FOX: dict[str, Any] = {"asset_sha256": "a", "world_to_asset": WORLD}


def check(changes: dict[str, Any]) -> None:
    check_same_world(FOX | changes, "six views", FOX, "held out")


@pytest.mark.parametrize("offset", [[0.0, 1.0, -3.0], [0.0015, 1.0, -3.0]])
def test_rounding_is_no_other_world(offset: list[float]) -> None:
    check({"world_to_asset": {"scale": 2.0, "offset": offset}})


REFUSED = {
    "asset": ({"asset_sha256": "b"}, "six views: another asset than held out"),
    "scale": ({"world_to_asset": WORLD | {"scale": 2.1}}, "another world than held out.*by 0.05"),
    "origin": ({"world_to_asset": WORLD | {"offset": [0.0, 1.0, -3.1]}}, "by 0.05 object lengths"),
    "nothing": ({"world_to_asset": None}, "six views: 'world_to_asset' with"),
    "two numbers": ({"world_to_asset": WORLD | {"offset": [0.0, 1.0]}}, "'offset' \\[3\\]"),
    "not finite": ({"world_to_asset": WORLD | {"scale": math.nan}}, "'world_to_asset' with"),
    "no size": ({"world_to_asset": WORLD | {"scale": 0.0}}, "'world_to_asset' with"),
    "words": ({"world_to_asset": WORLD | {"scale": "two"}}, "'world_to_asset' with"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_others_are_refused_by_name(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        check(changes)


def followed(frames: list[float], way: Any, offset: float = 0.0) -> dict[str, Any]:
    """An object that comes along in x; ``offset`` is where it is in the first frame of these."""
    world = WORLD | {"offset": [offset, 1.0, -3.0]}
    if way is not None:
        world |= {"travel": [[x, 0.0, 0.0] for x in way]}
    return {"asset_sha256": "a", "world_to_asset": world, "frames": frames}


def test_ways_agree_where_both_show_the_same_moment() -> None:
    ours = followed([0.0, 1.0, 2.0], [0.0, 0.5, 1.0])
    check_same_world(ours, "ours", ours, "theirs")
    # From its second frame on, measured from there.
    check_same_world(ours, "ours", followed([1.0, 2.0], [0.0, 0.5], offset=0.5), "theirs")
    still = followed([0.0, 1.0], [0.0, 0.0])
    check_same_world(still, "ours", followed([0.0, 1.0], None), "theirs")


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (followed([0.0, 2.0], [0.0, 0.8]), "by 0.1 object lengths.* same normalise.follow"),
        (followed([0.0, 1.0, 2.0], None), "by 0.5 object lengths"),
        (followed([7.0], [0.0]), "no moment of it that theirs shows"),
        (followed([0.0, 1.0], [0.0]), "theirs: 'travel' of 'world_to_asset'"),
        (followed([0.0], [math.nan]), "theirs: 'travel'"),
    ],
    ids=["other way", "not followed", "other moments", "too few", "not finite"],
)
def test_ways_that_differ_are_refused(theirs: dict[str, Any], message: str) -> None:
    ours = followed([0.0, 1.0, 2.0], [0.0, 0.5, 1.0])
    with pytest.raises(InputError, match=message):
        check_same_world(ours, "ours", theirs, "theirs")
