"""Transforms of input images: from PIL images or tensors to squares of RGB over grey."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from blender_render.imaging.resize import area_resize, resize_rgba
from mnvs.encoders.vae_scaling import GREY, on_grey
from mnvs.footage.still_images import rgba_of
from training_core.config import InputError

# Alpha below this does not count as part of the object's box.
_FAINT = 0.05
# An object whose alpha stays below this everywhere is lost in the grey around it.
_VISIBLE = 0.25


def to_rgba(images: Tensor | Image.Image | Sequence[Image.Image]) -> Tensor:
    """Straight-alpha RGBA [T, 4, H, W] float32 in [0, 1] of one image or several of one size.

    Raises:
        InputError: no image, different sizes, or a tensor of another shape or range.
    """
    if isinstance(images, Tensor):
        video = images[None] if images.ndim == 3 else images
        if video.ndim != 4 or video.shape[1] not in (3, 4) or 0 in video.shape:
            raise InputError(f"expected images [T, 3 or 4, H, W], got {list(images.shape)}")
        if not video.is_floating_point() or video.amin() < 0.0 or video.amax() > 1.0:
            raise InputError("images must be floats in [0, 1]")
        video = video.float().cpu()
    else:
        several = [images] if isinstance(images, Image.Image) else list(images)
        sizes = {image.size for image in several}
        if len(sizes) != 1:
            raise InputError(f"expected images of one size, got {sorted(sizes) or 'none'}")
        video = torch.stack([rgba_of(image) for image in several])
    if video.shape[1] == 3:
        video = torch.cat([video, torch.ones_like(video[:, :1])], dim=1)
    return video


def prepare_condition(
    rgba: Tensor, *, recentre: float = 0.0, background: float = GREY, max_side: int = 1024
) -> Tensor:
    """RGBA [T, 4, H, W] → square RGB [T, 3, S, S] over grey; see ``square_rgba``."""
    square = square_rgba(rgba, recentre=recentre, max_side=max_side)
    return on_grey(square.movedim(1, -1), background)


def square_rgba(rgba: Tensor, *, recentre: float = 0.0, max_side: int = 1024) -> Tensor:
    """RGBA [T, 4, H, W] → straight-alpha RGBA [T, 4, S, S]; the aspect is kept.

    Args:
        recentre: fraction of the side that the longer side of the object's box fills; the box is
            the union over all frames, so that motion is kept. 0 = only pad to a square.
        max_side: larger images are reduced to this; the encoders reduce them further anyway.

    Raises:
        InputError: recentring without alpha, or of an empty image. ValueError: recentre beyond 1.
    """
    if not 0.0 <= recentre <= 1.0:
        raise ValueError(f"recentre must be in [0, 1], is {recentre}")
    if recentre:
        rgba = _cut_around_object(rgba, recentre)
    side = max(rgba.shape[-2:])
    if side <= max_side:
        return _pad_to(rgba, side, side)
    # One after the other, since the squares of a long clip need not be in memory together.
    return torch.cat([resize(_pad_to(image, side, side), max_side) for image in rgba.split(1)])


def refuse_invisible(rgba: Tensor, side: int, *, recentre: float = 0.0) -> None:
    """Refuse images [T, 4, H, W] of which the networks would see nothing in squares of ``side``.

    The opacity alone is squared and reduced, and only until something is to be seen: the squares
    themselves would take seconds and are made later.

    Args:
        recentre: see ``square_rgba``.

    Raises:
        InputError: they are transparent everywhere, or the object vanishes when they are reduced.
    """
    alpha = rgba[:, 3:]
    if recentre:
        alpha = _cut_around_object(alpha, recentre)
    if float(alpha.amax()) <= _FAINT:
        raise InputError("the input is transparent everywhere: there is no object in it")
    longest = max(alpha.shape[-2:])
    if longest > side and not any(
        float(area_resize(_pad_to(a, longest, longest)[..., None], side, side).amax()) > _VISIBLE
        for a in alpha[:, 0]
    ):
        raise InputError(
            f"nothing of the object is left when the input is reduced to {side} pixels; crop it, "
            "or give clip.recentre"
        )


def resize(rgba: Tensor, side: int) -> Tensor:
    """Squares [T, 4, S, S] → [T, 4, side, side] by area, colours weighted by their alpha."""
    return torch.stack([resize_rgba(p.movedim(0, -1), side, side) for p in rgba]).movedim(-1, 1)


def _cut_around_object(rgba: Tensor, share: float) -> Tensor:
    """A square around the box of all frames, such that its longer side fills ``share``.

    Args:
        rgba: [T, C, H, W], opacity last.
    """
    alpha = rgba[:, -1]
    if float(alpha.min()) > 1.0 - _FAINT:
        raise InputError("recentring needs images with a transparent background")
    covered = (alpha > _FAINT).any(0)
    if not bool(covered.any()):
        raise InputError("recentring found nothing: the images are transparent everywhere")
    rows, columns = (covered.any(d).nonzero().flatten() for d in (1, 0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side = max(round(max(bottom - top, right - left) / share), 1)
    inside = rgba[..., top:bottom, left:right]
    return _pad_to(inside, max(side, bottom - top), max(side, right - left))


def _pad_to(images: Tensor, height: int, width: int) -> Tensor:
    """Transparent margins on all sides, equal up to one pixel."""
    down, across = height - images.shape[-2], width - images.shape[-1]
    return F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
