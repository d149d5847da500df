"""Input pictures: from any of their forms to squares of RGB over grey."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from blender_render.pictures import area_resize
from mnvs.images import GREY
from training_core.config import InputError

# Below this, alpha counts as nothing when the object's box is measured.
_FAINT = 0.05


def to_rgba(pictures: Tensor | Image.Image | Sequence[Image.Image]) -> Tensor:
    """Straight-alpha RGBA [T, 4, H, W] float32 in [0, 1] of one picture or several of one size.

    Raises:
        InputError: no picture, different sizes, or a tensor of another shape or range.
    """
    if isinstance(pictures, Tensor):
        video = pictures[None] if pictures.ndim == 3 else pictures
        if video.ndim != 4 or video.shape[1] not in (3, 4) or 0 in video.shape:
            raise InputError(f"expected pictures [T, 3 or 4, H, W], got {list(pictures.shape)}")
        if not video.is_floating_point() or video.amin() < 0.0 or video.amax() > 1.0:
            raise InputError("pictures must be floats in [0, 1]")
        video = video.float().cpu()
    else:
        several = [pictures] if isinstance(pictures, Image.Image) else list(pictures)
        sizes = {picture.size for picture in several}
        if len(sizes) != 1:
            raise InputError(f"expected pictures of one size, got {sorted(sizes) or 'none'}")
        video = torch.stack([_from_pil(picture) for picture in several])
    if video.shape[1] == 3:
        video = torch.cat([video, torch.ones_like(video[:, :1])], dim=1)
    return video


def prepare_condition(
    rgba: Tensor, *, recentre: float = 0.0, background: float = GREY, max_side: int = 1024
) -> Tensor:
    """RGBA [T, 4, H, W] → square RGB [T, 3, S, S] over grey; the aspect is kept.

    Args:
        recentre: share of the side that the longer side of the object's box shall fill; the box
            is the union over all frames, so that motion stays. 0 = only pad to a square.
        max_side: larger pictures are reduced to this; the encoders see less anyway.

    Raises:
        InputError: recentring without alpha, or of nothing. ValueError: a share beyond 1.
    """
    if not 0.0 <= recentre <= 1.0:
        raise ValueError(f"recentre must be in [0, 1], is {recentre}")
    premultiplied = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
    if recentre:
        premultiplied = _cut_around_object(premultiplied, recentre)
    side = max(premultiplied.shape[-2:])
    premultiplied = _pad_to(premultiplied, side, side)
    if side > max_side:
        small = [area_resize(p.movedim(0, -1), max_side, max_side) for p in premultiplied]
        premultiplied = torch.stack(small).movedim(-1, 1)
    colour, alpha = premultiplied[:, :3], premultiplied[:, 3:]
    return (colour + (1.0 - alpha) * background).clamp(0.0, 1.0)


def _cut_around_object(premultiplied: Tensor, share: float) -> Tensor:
    """A square around the box of all frames, such that its longer side fills ``share``."""
    alpha = premultiplied[:, 3]
    if float(alpha.min()) > 1.0 - _FAINT:
        raise InputError("recentring needs pictures with a transparent background")
    covered = (alpha > _FAINT).any(0)
    if not bool(covered.any()):
        raise InputError("recentring found nothing: the pictures are transparent everywhere")
    rows, columns = (covered.any(d).nonzero().flatten() for d in (1, 0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side = max(round(max(bottom - top, right - left) / share), 1)
    inside = premultiplied[..., top:bottom, left:right]
    return _pad_to(inside, max(side, bottom - top), max(side, right - left))


def _pad_to(pictures: Tensor, height: int, width: int) -> Tensor:
    """Transparent margins on all sides, equal up to one pixel."""
    down, across = height - pictures.shape[-2], width - pictures.shape[-1]
    return F.pad(pictures, (across // 2, across - across // 2, down // 2, down - down // 2))


def _from_pil(picture: Image.Image) -> Tensor:
    rgba = ImageOps.exif_transpose(picture).convert("RGBA")
    pixels = torch.frombuffer(bytearray(rgba.tobytes()), dtype=torch.uint8)
    return pixels.view(rgba.height, rgba.width, 4).movedim(-1, 0).float() / 255.0
