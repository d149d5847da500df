"""Estimating the opacity of generated images, which show the object on Zero123++'s plain grey."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnvs.encoders.vae_scaling import GREY

# Largest difference of a channel from the background: transparent up to LOW, opaque from HIGH on.
LOW, HIGH = 0.04, 0.12


def matte_from_grey(
    images: Tensor, background: float = GREY, low: float = LOW, high: float = HIGH
) -> Tensor:
    """RGB [..., 3, H, W] on grey → straight-alpha RGBA [..., 4, H, W].

    An estimate: opacity rises with the difference from the background, specks of a few pixels
    are filled or dropped, and colours are such that the image over the background is the given one.
    Parts of the object as grey as the background become holes; where that matters, use a
    segmentation network on the tiles instead.

    Args:
        low, high: differences, 0 to 1, between which opacity rises from 0 to 1.
    """
    flat = images.flatten(0, -4) if images.ndim > 3 else images[None]
    difference = (flat - background).abs().amax(1, keepdim=True)
    alpha = ((difference - low) / (high - low)).clamp(0.0, 1.0)
    opened = _dilate(_erode(alpha))
    alpha = torch.minimum(alpha, _dilate(opened))
    alpha = torch.maximum(alpha, _erode(_dilate(alpha)))
    colour = (flat - (1.0 - alpha) * background) / alpha.clamp(min=1e-3)
    colour = torch.where(alpha > 0.0, colour, 0.0).clamp(0.0, 1.0)
    return torch.cat([colour, alpha], 1).view(*images.shape[:-3], 4, *images.shape[-2:])


def _dilate(alpha: Tensor) -> Tensor:
    return F.max_pool2d(alpha, 3, 1, 1)


def _erode(alpha: Tensor) -> Tensor:
    return -F.max_pool2d(-alpha, 3, 1, 1)
