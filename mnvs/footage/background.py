"""Cutting a character out of a picture with a plain background: no network, nothing to download.

The background's colour is a polynomial of the place in the picture, fitted to its border; what
agrees with it and is connected to the border is background, and so are the soft shadows on it.
Made for renders and product pictures: even or softly shaded backgrounds. Background that the object
encloses, such as between an arm and the body, counts as object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training_core.config import InputError

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Shares of the picture within which an object is taken for one.
SMALLEST, LARGEST = 0.01, 0.85
_LEAST_TOLERANCE, _MOST_TOLERANCE, _SPREADS = 0.035, 0.15, 4.0
_PLAIN, _EVEN = 0.7, 0.04  # of a border: least share that fits, largest spread around the fit
_LARGEST_PIECE, _ON_EDGE, _FAINT_OUTLINE = 0.8, 0.25, 0.5
_RIM = 3  # pixels that an outline may be blurred over, as in compressed videos
_DARKEST_SHADOW = 0.3  # share of the background's light that is left in it
_SOFT = 0.014  # most that a shadow changes from one pixel to the next
_GAP = 2  # pixels by which a way into a shadow is wider than a leak through an outline
_SMALL_PIECE = 0.02  # of the largest piece; less is dropped
_MOST_PIECES = 64
_SMALLEST = 5  # side of a picture in which border and object can be told apart


@dataclass(frozen=True, eq=False)
class CutOut:
    """Straight-alpha RGBA [4, H, W], and why the mask may be wrong, in words."""

    rgba: Tensor
    doubts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Background:
    """Fitted colours [H, W, 3], tolerance around them, and how well the border agrees."""

    colours: Array
    tolerance: float
    share: float
    spread: float


def cut_out(picture: Tensor) -> CutOut:
    """Remove the plain background of an RGB picture [3, H, W] in [0, 1].

    Raises:
        InputError: nothing differs from the background, or the picture is a line.
    """
    if min(picture.shape[1:]) < _SMALLEST:
        height, width = picture.shape[1:]
        raise InputError(f"a picture of {width}x{height} has no background to be cut away")
    pixels = picture.movedim(0, -1).double().numpy()
    background = _fit_background(pixels)
    difference = np.abs(pixels - background.colours).max(-1)
    alike = difference < background.tolerance
    edge = np.zeros_like(alike)
    edge[[0, -1], :], edge[:, [0, -1]] = True, True
    outside = flood(edge & alike, alike)
    outside |= _soft_shadows(pixels, background, outside, alike)
    inside, largest = _without_specks(~outside)
    if not inside.any():
        raise InputError("nothing in the picture differs from its background")
    # Of the object beside each pixel: what the outline, blurred or not, is a mixture of.
    beside = _widest(difference, _RIM)
    alpha = _soft_alpha(inside, difference, beside, background.tolerance)
    colours = (pixels - (1.0 - alpha[..., None]) * background.colours) / alpha[..., None].clip(1e-3)
    colours = np.where(alpha[..., None] > 0.0, colours, 0.0).clip(0.0, 1.0)
    rgba = torch.from_numpy(np.concatenate([colours, alpha[..., None]], -1)).float()
    doubts = [*_doubts_of_border(background), *doubts_of_mask(inside)]
    if largest < _LARGEST_PIECE:
        doubts.append(f"it is in pieces, the largest is {largest:.0%} of it")
    outline = inside & ~_shrunk(inside)
    faint = float((beside[outline] < 2.0 * background.tolerance).mean())
    if faint > _FAINT_OUTLINE:
        doubts.append(f"{faint:.0%} of its outline hardly differs from the background")
    return CutOut(rgba.movedim(-1, 0), tuple(doubts))


def doubts_of_mask(inside: Mask) -> list[str]:
    """What speaks against a mask [H, W], whatever made it."""
    doubts = []
    share = float(inside.mean())
    if not SMALLEST <= share <= LARGEST:
        doubts.append(f"it covers {share:.1%} of the picture")
    ring = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if (touching := float(ring.mean())) > _ON_EDGE:
        doubts.append(f"it touches {touching:.0%} of the picture's edge")
    return doubts


def flood(seeds: Mask, free: Mask) -> Mask:
    """The parts of ``free`` [H, W] that are connected (side by side) to a seed in it."""
    reached = seeds & free
    while True:
        before = int(reached.sum())
        reached = _along_rows(reached, free)
        reached = _along_rows(reached.T, free.T).T
        if int(reached.sum()) == before:
            return reached


def _along_rows(reached: Mask, free: Mask) -> Mask:
    """Every run of free pixels in a row that holds a reached one, whole."""
    starts = ~free
    starts[:, 0] = True
    run = np.cumsum(starts).reshape(free.shape)
    hit = np.zeros(int(run[-1, -1]) + 1, dtype=bool)
    hit[run[reached & free]] = True
    return hit[run] & free


def _fit_background(pixels: Array) -> _Background:
    """A polynomial of degree 2 through the border, pixels that do not fit left out step by step."""
    height, width = pixels.shape[:2]
    band = max(2, round(0.02 * min(height, width)))
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    border = np.ones((height, width), dtype=bool)
    border[band:-band, band:-band] = False
    basis, values = terms[border], pixels[border]
    # The start is the commonest colour, so that an object on the border does not pull it away.
    middle = np.median(values, axis=0)
    fits = np.abs(values - middle).max(-1) <= np.median(np.abs(values - middle).max(-1)) + 0.1
    for _ in range(6):
        weights = np.linalg.lstsq(basis[fits], values[fits], rcond=None)[0]
        away = np.abs(values - basis @ weights).max(-1)
        spread = 1.4826 * float(np.median(away[fits]))
        fits = away <= max(3.0 * spread, _LEAST_TOLERANCE)
    colours = (terms @ weights).clip(0.0, 1.0)
    tolerance = min(max(_LEAST_TOLERANCE, _SPREADS * spread), _MOST_TOLERANCE)
    return _Background(colours, tolerance, float(fits.mean()), spread)


def _soft_shadows(pixels: Array, background: _Background, outside: Mask, alike: Mask) -> Mask:
    """What is the background's colour, only darker, and reached from outside without a step.

    An outline is a step in brightness, so that an object of the background's hue stays. Single
    gaps in it lead nowhere: the way in must be more than ``2 * _GAP`` pixels wide.
    """
    smooth = F.avg_pool2d(torch.from_numpy(pixels).movedim(-1, 0)[None], 3, 1, 1, False, False)
    mean = smooth[0].movedim(0, -1).numpy()
    share = (mean * background.colours).sum(-1) / np.square(background.colours).sum(-1).clip(1e-3)
    hue = np.abs(mean - share[..., None] * background.colours).max(-1)
    rows, columns = np.gradient(mean, axis=(0, 1))
    step = np.maximum(np.abs(rows), np.abs(columns)).max(-1)
    darker = (share > _DARKEST_SHADOW) & (hue < background.tolerance) & (step < _SOFT)
    free = darker | (alike & outside)
    wide = free
    for _ in range(_GAP):
        wide = _shrunk(wide)
    reached = flood(outside & wide, wide)
    for _ in range(_GAP):
        reached = ~_shrunk(~reached)
    return reached & free


def _doubts_of_border(background: _Background) -> list[str]:
    if background.share < _PLAIN or background.spread > _EVEN:
        return [f"the background is not plain: {background.share:.0%} of the border is of one kind"]
    return []


def _without_specks(inside: Mask) -> tuple[Mask, float]:
    """Without pieces that are small beside the largest, and that one's share of what is left."""
    left = inside.copy()
    pieces: list[Mask] = []
    while left.any() and len(pieces) < _MOST_PIECES:
        seed = np.zeros_like(left)
        seed[np.unravel_index(int(left.argmax()), left.shape)] = True
        piece = flood(seed, left)
        pieces.append(piece)
        left &= ~piece
    if not pieces:
        return inside, 0.0
    sizes = [int(piece.sum()) for piece in pieces]
    kept = [p for p, size in zip(pieces, sizes, strict=True) if size >= _SMALL_PIECE * max(sizes)]
    whole = np.logical_or.reduce(kept)
    return whole, max(sizes) / int(whole.sum())


def _soft_alpha(inside: Mask, difference: Array, beside: Array, tolerance: float) -> Array:
    """1 inside; near the outline the share that a pixel has of the difference beside it."""
    core = inside
    for _ in range(_RIM):
        core = _shrunk(core)
    least = 0.5 * tolerance
    share = (difference - least) / (0.9 * beside - least).clip(1e-3)
    return np.where(inside & ~core, share.clip(0.0, 1.0), inside.astype(np.float64))


def _widest(values: Array, reach: int) -> Array:
    """The largest value [H, W] within a square of ``reach`` pixels to each side."""
    largest = F.max_pool2d(torch.from_numpy(values)[None, None], 2 * reach + 1, 1, reach)
    return largest[0, 0].numpy()


def _shrunk(mask: Mask) -> Mask:
    """Without the pixels that have a neighbour, by side, outside."""
    padded = np.pad(mask, 1, constant_values=True)
    beside = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    return mask & np.logical_and.reduce(beside)
