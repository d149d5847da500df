"""Training pictures whose outlines do not agree with each other, moved until they do.

Where a picture is a few pixels off, parts of every outline are left uncovered by the others. Each
picture's shift and size are sought that leave the least of it. Renders of one object leave next to
nothing, and are not touched.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera
from sjc_papr.data.outline_gaps import LOOKUPS, OutlineGaps

_STEPS, _RATE, _LAST_RATE = 61, 0.3, 0.01
# Steps between two searches of what limits the rays, which take most of the time.
_SEEK_EVERY = 3
# Mean gap in pixels from which pictures are moved. Renders of one object have 0.01 to 0.05, those
# moved by 2 to 5 pixels 0.17 to 0.9 (docs/few_views.md).
WORTH_MOVING = 0.1
# Moving must close so much of the gap. It does not where pictures show different things, nor where
# the object is as thin as a pixel: then its own outlines have gaps.
_CLOSED = 0.5
# Views that say something about each other.
_LEAST_VIEWS = 3


class Placement(NamedTuple):
    """How pictures stand against where they should: what belongs at ``q``, pixels from the middle
    of a picture, is shown at ``exp(zoom) q + shift``.

    Attributes:
        shift: [V, 2], in picture widths, to the right and down. zoom: [V].
        gap: mean gap between the outlines, in pixels of a picture of at most 128, where the
            pictures stand so. gap_before: likewise, as they are.
    """

    shift: Tensor
    zoom: Tensor
    gap: float
    gap_before: float

    @property
    def needed(self) -> bool:
        """Whether the pictures do not agree as they are."""
        return self.gap_before >= WORTH_MOVING

    @property
    def helps(self) -> bool:
        """Whether moving the pictures so makes them agree, more or less."""
        return self.needed and self.gap <= _CLOSED * self.gap_before


def find_placement(alpha: Tensor, cameras: Sequence[Camera], lookups: int = LOOKUPS) -> Placement:
    """How the pictures stand; nothing is sought where they agree as they are.

    A shift or size that all have in common cannot be told from the object's, and is left. Of fewer
    than three pictures nothing is said.

    Args:
        alpha, cameras, lookups: see ``OutlineGaps``.
    """
    found = torch.zeros(len(cameras), 3, requires_grad=True)
    if len(cameras) < _LEAST_VIEWS:
        return Placement(found.detach()[:, :2], found.detach()[:, 2], 0.0, 0.0)
    gaps = OutlineGaps(alpha, cameras, lookups)
    with torch.no_grad():
        before = float(gaps(found))
    best, least, limits = found.detach().clone(), before, None
    if before >= WORTH_MOVING:
        optimizer = torch.optim.Adam([found], _RATE)
        for step in range(_STEPS):
            optimizer.param_groups[0]["lr"] = _RATE * (1.0 - step / _STEPS) + _LAST_RATE
            anew = step % _SEEK_EVERY == 0
            limits = gaps.limits(found) if anew else limits
            gap = gaps(found, limits)
            if anew and gap.item() < least:
                best, least = found.detach().clone(), gap.item()
            optimizer.zero_grad()
            gap.backward()
            optimizer.step()
        # In float64, because LAPACK's last digits depend on where numbers lie in memory.
        best = gaps.without_common(best.double()).float()
        with torch.no_grad():
            least = float(gaps(best))
    return Placement(best[:, :2] / gaps.width, best[:, 2] / gaps.rim, least, before)


def moved_back(views: Views, placement: Placement) -> Views:
    """The pictures where they should be, resampled; the cameras stay. What lies beyond a picture's
    border is taken to be as at the border.
    """
    _, height, width, _ = views.images.shape
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    middle = torch.tensor([width / 2.0, height / 2.0])
    zoom = placement.zoom.exp()[:, None, None, None]
    shown = (pixels - middle) * zoom + (placement.shift * width)[:, None, None] + middle
    grid = shown / middle - 1.0
    colours, alpha = views.images[..., :3], views.images[..., 3:]
    premultiplied = torch.cat([colours * alpha, alpha], dim=-1).permute(0, 3, 1, 2)
    found = F.grid_sample(
        premultiplied, grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    found = found.permute(0, 2, 3, 1).clamp(0.0, 1.0)
    colours = torch.where(found[..., 3:] > 0, found[..., :3] / found[..., 3:].clamp_min(1e-6), 0.0)
    depth = None
    if views.depth is not None:
        depth = F.grid_sample(views.depth[:, None], grid, mode="nearest", align_corners=False)[:, 0]
    images = torch.cat([colours.clamp(0.0, 1.0), found[..., 3:]], dim=-1)
    return replace(views, images=images, depth=depth)
