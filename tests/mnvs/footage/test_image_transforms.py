"""Input pictures become squares over grey without changing shape, and bad ones are named."""

import itertools

import pytest
import torch
from PIL import Image

from mnvs.footage.image_transforms import prepare_condition, to_rgba
from training_core.config import InputError


def block(height: int, width: int, top: int, left: int, tall: int, wide: int) -> torch.Tensor:
    """RGBA [4, height, width]: an opaque red rectangle on nothing."""
    rgba = torch.zeros(4, height, width)
    rgba[0, top : top + tall, left : left + wide] = 1.0
    rgba[3, top : top + tall, left : left + wide] = 1.0
    return rgba


def red_box(picture: torch.Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of what is red in [3, S, S]."""
    red = (picture[0] > 0.75) & (picture[1] < 0.25)
    rows, columns = red.any(1).nonzero().flatten(), red.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), len(rows), len(columns)


def test_padding_keeps_the_aspect() -> None:
    made = prepare_condition(block(20, 40, 5, 10, 6, 8)[None])
    assert made.shape == (1, 3, 40, 40)
    assert red_box(made[0]) == (15, 10, 6, 8)
    assert (made[0, :, 0, 0] == 0.5).all() and (made[0, :, 39, 39] == 0.5).all()


def test_soft_alpha_is_composited() -> None:
    rgba = torch.full((1, 4, 2, 2), 0.25)
    torch.testing.assert_close(prepare_condition(rgba), torch.full((1, 3, 2, 2), 0.4375))
    white = prepare_condition(torch.zeros(1, 4, 2, 2), background=1.0)
    assert (white == 1.0).all()


@pytest.mark.parametrize("share", [1.0, 0.8, 0.5])
def test_recentring(share: float) -> None:
    made = prepare_condition(block(64, 64, 2, 40, 10, 20)[None], recentre=share)
    side = made.shape[-1]
    assert side == round(20 / share)
    top, left, height, width = red_box(made[0])
    assert (height, width) == (10, 20)
    assert abs(2 * top + height - side) <= 1 and abs(2 * left + width - side) <= 1


def test_recentring_keeps_motion() -> None:
    video = torch.stack([block(64, 64, 20, 10 + 4 * t, 10, 10) for t in range(5)])
    made = prepare_condition(video, recentre=0.5)
    lefts = [red_box(picture)[1] for picture in made]
    assert [b - a for a, b in itertools.pairwise(lefts)] == [4] * 4
    assert made.shape[-1] == 52  # the box over all frames is 26 wide


def test_large_pictures_are_reduced() -> None:
    made = prepare_condition(block(300, 100, 100, 20, 90, 60)[None], max_side=100)
    assert made.shape == (1, 3, 100, 100)
    _, _, height, width = red_box(made[0])
    assert abs(height - 30) <= 1 and abs(width - 20) <= 1


def test_every_form_of_input() -> None:
    rgba = block(6, 4, 1, 1, 2, 2)
    pixels = (rgba.movedim(0, -1) * 255).byte().numpy()
    picture = Image.fromarray(pixels)
    for form in (rgba, rgba[None], picture, [picture]):
        torch.testing.assert_close(to_rgba(form), rgba[None])
    assert torch.equal(to_rgba(picture.convert("RGB"))[0, 3], torch.ones(6, 4))
    assert to_rgba(rgba[:3]).shape == (1, 4, 6, 4)
    assert to_rgba([picture] * 3).shape == (3, 4, 6, 4)


def test_bad_pictures() -> None:
    opaque = torch.rand(1, 4, 8, 8)
    opaque[:, 3] = 1.0
    for bad, message in (
        (lambda: to_rgba(torch.zeros(2, 8, 8)), "expected images"),
        (lambda: to_rgba(torch.full((3, 8, 8), 2.0)), r"floats in \[0, 1\]"),
        (lambda: to_rgba(torch.zeros(3, 8, 8, dtype=torch.uint8)), "floats"),
        (lambda: to_rgba([]), "one size"),
        (lambda: to_rgba([Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2))]), "one size"),
        (lambda: prepare_condition(opaque, recentre=0.8), "transparent background"),
        (lambda: prepare_condition(torch.zeros(1, 4, 8, 8), recentre=0.8), "found nothing"),
    ):
        with pytest.raises(InputError, match=message):
            bad()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        prepare_condition(opaque, recentre=2.0)
