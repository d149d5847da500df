"""Depth of six pictures as the network guesses it, at the pictures' own size."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.feed_forward.geometry import SHOWN
from sjc_papr.feed_forward.network import VIEWS, DepthNetwork
from sjc_papr.feed_forward.samples import (
    SYMMETRIES,
    SixDepth,
    describe,
    network_inputs,
    refuse_asymmetric,
    transformed,
)
from training_core.config import ConfigError

# Depths of neighbouring pixels that differ by more than this, world units, are two surfaces.
_SAME_SURFACE = 0.02


class Guess(NamedTuple):
    """Of V pictures.

    Attributes:
        depth: planar, world units, [V, H, W]; 0 where the pixel shows no object.
        error: expected absolute error of it, world units, [V, H, W].
    """

    depth: Tensor
    error: Tensor


@torch.no_grad()
def guess_depth(network: DepthNetwork, views: Views) -> Guess:
    """What the network says of six pictures, the mean of what it says of all turned and mirrored.

    Raises:
        ConfigError: not six views.
    """
    if len(views) != VIEWS:
        raise ConfigError(
            f"points.init=network needs the six views of a rig, but there are {len(views)}"
        )
    sample = describe("", views.images, views.cameras, None, network.config)
    small = _guess_small(network, sample)
    height, width = views.images.shape[1:3]
    shown = views.images[..., 3] >= SHOWN
    return Guess(
        torch.where(shown, enlarged(small.depth, height, width), 0.0),
        torch.where(shown, enlarged(small.error, height, width), 0.0),
    )


def _guess_small(network: DepthNetwork, sample: SixDepth) -> Guess:
    """At the network's size, over all symmetries that the six cameras have."""
    try:
        refuse_asymmetric([sample])
        rows = range(len(SYMMETRIES))
    except ConfigError:
        rows = range(1)
    corrections: list[Tensor] = []
    log_errors: list[Tensor] = []
    for row in rows:
        order, mirror = SYMMETRIES[row]
        answer = network(network_inputs(transformed(sample, row)))
        for said, kept in zip(answer, (corrections, log_errors), strict=True):
            back = torch.empty_like(said[0])
            back[order] = said[0].flip(2) if mirror else said[0]
            kept.append(back)
    correction, log_error = torch.stack(corrections).mean(0), torch.stack(log_errors).mean(0)
    shown = sample.entry > 0
    return Guess(
        torch.where(shown, sample.entry + correction, 0.0),
        torch.where(shown, log_error.exp(), 0.0),
    )


def enlarged(values: Tensor, height: int, width: int) -> Tensor:
    """[V, h, w] at another size: interpolated along a surface, never between two.

    Zeros count as unknown: they take the mean of their known neighbours first, so that a rim of the
    object finds a value.
    """
    known = (values > 0).float()[:, None]
    around = F.avg_pool2d(values[:, None], 3, 1, 1) / F.avg_pool2d(known, 3, 1, 1).clamp_min(1e-6)
    filled = torch.where(known > 0, values[:, None], around)
    smooth = F.interpolate(filled, (height, width), mode="bilinear", align_corners=False)
    nearest = F.interpolate(filled, (height, width), mode="nearest-exact")
    return torch.where((smooth - nearest).abs() < _SAME_SURFACE, smooth, nearest)[:, 0]
