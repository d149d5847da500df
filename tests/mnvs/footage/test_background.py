"""Characters cut out of plain backgrounds, and masks that are called doubtful."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mnvs.footage.background import cut_out, flood
from mnvs.footage.cut_out_footage import CutOutConfig, prepare_footage
from mnvs.footage.input_reader import Footage
from training_core.config import InputError

SIZE = 128
Y, X = np.mgrid[:SIZE, :SIZE] + 0.5


def figure(dx: float = 0.0) -> np.ndarray:
    """Opacity [H, W] of a body with a head and two legs, edges one pixel soft."""
    head = 16.0 - np.hypot(X - 64 - dx, Y - 30)
    body = np.minimum(18.0 - np.abs(X - 64 - dx), 26.0 - np.abs(Y - 66))
    legs = np.minimum(5.0 - np.abs(np.abs(X - 64 - dx) - 12), 14.0 - np.abs(Y - 102))
    return (np.maximum.reduce([head, body, legs]) + 0.5).clip(0.0, 1.0)


def colours() -> np.ndarray:
    """Of the figure [H, W, 3]: striped, with parts near white and near grey."""
    stripes = 0.5 + 0.5 * np.sin(Y / 5.0)
    return np.stack([0.2 + 0.6 * stripes, 0.3 + 0.1 * stripes, 0.75 - 0.5 * stripes], -1)


BACKGROUNDS = {
    "white": np.ones((SIZE, SIZE, 3)),
    "grey gradient": np.repeat((0.55 + 0.35 * Y / SIZE)[..., None], 3, -1),
    "colour gradient": np.stack([0.9 - 0.3 * X / SIZE, 0.8 + 0.1 * Y / SIZE, 0.95 + 0 * X], -1),
    "vignette": np.repeat((0.95 - 0.3 * ((X - 64) ** 2 + (Y - 64) ** 2) / 8192)[..., None], 3, -1),
}


def over(background: np.ndarray, alpha: np.ndarray, noise: float = 0.004) -> Tensor:
    """The figure on a background, with a camera's noise: [3, H, W]."""
    picture = background + alpha[..., None] * (colours() - background)
    picture = picture + np.random.default_rng(0).normal(0.0, noise, picture.shape)
    return torch.from_numpy(picture.clip(0.0, 1.0)).float().movedim(-1, 0)


def iou(alpha: Tensor, truth: np.ndarray) -> float:
    ours, theirs = alpha.numpy() >= 0.5, truth >= 0.5
    return float((ours & theirs).sum() / (ours | theirs).sum())


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize("dx", [0.0, 46.0])
def test_plain_backgrounds_go(name: str, dx: float) -> None:
    """Also with the figure at the edge of the picture, where it is part of the border."""
    made = cut_out(over(BACKGROUNDS[name], figure(dx)))
    assert iou(made.rgba[3], figure(dx)) > 0.95
    assert made.doubts == ()
    # Over the background again it is the picture, so colours at the outline are right too.
    again = torch.lerp(
        torch.from_numpy(BACKGROUNDS[name]).float().movedim(-1, 0), made.rgba[:3], made.rgba[3:]
    )
    assert (again - over(BACKGROUNDS[name], figure(dx))).abs().mean() < 0.01


def enlarged(array: np.ndarray) -> np.ndarray:
    """Four times as many pixels a side, with the steps that the small picture has."""
    return array.repeat(4, 0).repeat(4, 1)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_soft_shadows_go_with_the_background(name: str) -> None:
    y, x = (np.mgrid[: 4 * SIZE, : 4 * SIZE] + 0.5) / 4
    away = np.hypot((x - 74) / 44, (y - 116) / 16)
    light = (1.0 - 0.5 * np.clip(1.2 - away, 0.0, 1.0))[..., None]
    background = torch.from_numpy(BACKGROUNDS[name]).movedim(-1, 0)[None]
    background = torch.nn.functional.interpolate(background, scale_factor=4, mode="bilinear")
    floor = background[0].movedim(0, -1).numpy() * light
    picture = floor + enlarged(figure())[..., None] * (enlarged(colours()) - floor)
    picture += np.random.default_rng(0).normal(0.0, 0.004, picture.shape)
    made = cut_out(torch.from_numpy(picture.clip(0.0, 1.0)).float().movedim(-1, 0))
    assert iou(made.rgba[3], enlarged(figure())) > 0.95


@pytest.mark.parametrize("left", [0.8, 0.5])
def test_a_figure_of_the_background_s_hue_is_no_shadow(left: float) -> None:
    """Evenly darker than a grey background, with an outline that is a step: it stays whole."""
    grey = BACKGROUNDS["grey gradient"]
    picture = grey * (1.0 - figure()[..., None] * (1.0 - left))
    picture += np.random.default_rng(0).normal(0.0, 0.004, picture.shape)
    # A gap in the outline as thin as a pixel, where it fades into the background.
    picture[80:82, 82:96] = grey[80:82, 82:96] * np.linspace(left, 1.0, 14)[:, None]
    made = cut_out(torch.from_numpy(picture.clip(0.0, 1.0)).float().movedim(-1, 0))
    assert iou(made.rgba[3], figure()) > 0.95


def doubtful_pictures() -> dict[str, tuple[Tensor, str]]:
    busy = np.random.default_rng(1).uniform(0.0, 1.0, (8, 8, 3)).repeat(16, 0).repeat(16, 1)
    tiny = np.clip(5.5 - np.hypot(X - 64, Y - 64), 0.0, 1.0)
    pale = np.full((SIZE, SIZE, 3), 0.9)
    pale[figure() > 0.5] -= 0.05
    pieces = np.clip(8.0 - np.hypot((X % 43) - 21, (Y % 43) - 21), 0.0, 1.0)
    return {
        "busy": (over(busy, figure()), "not plain"),
        "tiny": (over(BACKGROUNDS["white"], tiny), "covers 0."),
        "pale": (torch.from_numpy(pale).float().movedim(-1, 0), "hardly differs"),
        "pieces": (over(BACKGROUNDS["white"], pieces), "in pieces"),
    }


@pytest.mark.parametrize("name", ["busy", "tiny", "pale", "pieces"])
def test_doubts_are_named(name: str) -> None:
    picture, doubt = doubtful_pictures()[name]
    assert any(doubt in said for said in cut_out(picture).doubts), cut_out(picture).doubts


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(InputError, match="nothing in the picture"):
        cut_out(over(BACKGROUNDS["grey gradient"], np.zeros((SIZE, SIZE))))


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (2, 2)])
def test_a_line_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size[1]}x{size[0]} has no background"):
        cut_out(torch.rand(3, *size))


def test_flood_goes_round_corners_but_not_through_diagonals() -> None:
    spiral = np.array(
        [
            [1, 1, 1, 1, 1],
            [0, 0, 0, 0, 1],
            [1, 1, 1, 0, 1],
            [1, 0, 0, 0, 1],
            [1, 1, 1, 1, 1],
        ],
        dtype=bool,
    )
    seeds = np.zeros_like(spiral)
    seeds[0, 0] = True
    np.testing.assert_array_equal(flood(seeds, spiral), spiral)
    spiral[1, 4] = False
    spiral[1, 3] = True  # hangs on the arm above; the arm below touches it at a corner only
    spiral[2, 3] = False
    wanted = np.zeros_like(spiral)
    wanted[0] = wanted[1, 3] = True
    np.testing.assert_array_equal(flood(seeds, spiral), wanted)


def test_prepared_pictures_are_centred_and_the_mask_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = torch.stack([over(BACKGROUNDS["white"], figure(dx)) for dx in (-10.0, 20.0)])
    footage = Footage(torch.cat([video, torch.ones(2, 1, SIZE, SIZE)], 1), 12.0)
    prepare_footage(footage, tmp_path, CutOutConfig(fill=0.8))
    record = json.loads((tmp_path / "prepare.json").read_text())
    assert record == {
        "background": "removed, plain border method",
        "doubts": [],
        "fps": 12.0,
        "frames": 2,
    }
    pictures = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "pictures").iterdir())]
    covered = np.maximum(*[p[..., 3] for p in pictures]) > 20
    rows, columns = covered.any(1).nonzero()[0], covered.any(0).nonzero()[0]
    side = len(covered)
    assert covered.shape == (side, side)
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    assert abs(longest / side - 0.8) < 0.02
    assert abs(rows[0] + rows[-1] + 1 - side) <= 3 and abs(columns[0] + columns[-1] + 1 - side) <= 3
    # One box for both frames, so the figure has moved by as much as before.
    middles = [np.nonzero(p[..., 3] > 128)[1].mean() for p in pictures]
    assert abs(middles[1] - middles[0] - 30.0) < 1.0
    assert (tmp_path / "mask.png").is_file() and "doubtful" not in caplog.text

    busy, said = doubtful_pictures()["busy"]
    opaque = torch.cat([busy, torch.ones(1, SIZE, SIZE)])[None]
    prepare_footage(Footage(opaque, None), tmp_path, CutOutConfig())
    assert f"the mask is doubtful: the background is {said}" in caplog.text
    assert str(tmp_path / "mask.png") in caplog.text
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_alpha_is_used_as_it_is(tmp_path: Path) -> None:
    rgba = torch.cat(
        [over(BACKGROUNDS["white"], figure()), torch.from_numpy(figure()).float()[None]]
    )
    prepare_footage(Footage(rgba[None], None), tmp_path, CutOutConfig(fill=1.0, max_side=1024))
    record = json.loads((tmp_path / "prepare.json").read_text())
    assert record["background"] == "the input's own alpha"
    made = np.asarray(Image.open(tmp_path / "pictures" / "000.png"))
    assert int((made[..., 3] >= 128).sum()) == int((figure() >= 0.5).sum())
    opaque = Footage(torch.ones(1, 4, 8, 8), None, name="white.png")
    with pytest.raises(InputError, match=r"white\.png is opaque everywhere"):
        prepare_footage(opaque, tmp_path, CutOutConfig(background="alpha"))
    with pytest.raises(InputError, match=r"white\.png: nothing in the picture differs"):
        prepare_footage(opaque, tmp_path, CutOutConfig(background="border"))
