"""What six pictures have to say on each pixel of a new view: the network's input.

All of it is relative to the new camera, so nothing depends on where the six stand or how the
object is turned.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.data.eyes import Eye
from sjc_papr.pseudo_views.ray_fusion import DepthViews, RaySurface, first_surface

# The surface may lie nearer or farther than the depth maps say; world units.
_OTHER_DEPTHS = (-0.025, 0.025)
# A picture counts for less where its own surface lies before the place, world units, and the more
# its ray differs from the new one.
_HIDDEN, _BY_ANGLE = 0.03, 10.0
_PER_VIEW, _PER_DEPTH = 7, 4
_PLAIN = 6


def channel_count(views: int) -> int:
    """Channels that ``gather`` makes of so many pictures."""
    return 3 + _PLAIN + _PER_DEPTH * len(_OTHER_DEPTHS) + _PER_VIEW * views


def colour_channels(views: int) -> list[int]:
    """Where in them a red stands, followed by green and blue."""
    plain = 3 + _PLAIN
    others = [plain + _PER_DEPTH * i for i in range(len(_OTHER_DEPTHS))]
    plain += _PER_DEPTH * len(_OTHER_DEPTHS)
    return [0, *others, *(plain + _PER_VIEW * view for view in range(views))]


class Gathered(NamedTuple):
    """Of the N pixels of a new view that may show the object.

    Attributes:
        pixels: see ``RaySurface``, [N].
        channels: [N, C], numbers near one; the first three are ``colour`` from -1 to 1.
        colour: what the pictures show there on the whole, RGB in [0, 1], [N, 3].
        found: whether there is a surface, [N] float.
    """

    pixels: Tensor
    channels: Tensor
    colour: Tensor
    found: Tensor


@torch.no_grad()
def gather(views: DepthViews, camera: Camera) -> Gathered:
    """Look up what ``views`` show of the object that ``camera`` would see."""
    surface, eye = first_surface(views, camera), Eye.of(camera)
    rays = eye.toward.flatten(0, 1)[surface.pixels]
    away = eye.origin.norm()
    # The picture from the most similar direction comes first.
    likeness = torch.stack([F.cosine_similarity(e.origin, eye.origin, dim=0) for e in views.eyes])
    order = torch.argsort(likeness, descending=True, stable=True).tolist()
    seen = _look(views, order, eye, eye.origin + surface.depth[:, None] * rays)
    channels = [seen.colour * 2.0 - 1.0, _plain(surface, seen, away)]
    for shift in _OTHER_DEPTHS:
        depth = surface.depth + shift
        there = _look(views, order, eye, eye.origin + depth[:, None] * rays)
        channels += [there.colour * 2.0 - 1.0, 5.0 * there.spread[:, None]]
    return Gathered(
        surface.pixels,
        torch.cat([*channels, seen.by_view.flatten(1)], dim=1),
        seen.colour,
        surface.found.float(),
    )


def _plain(surface: RaySurface, seen: "_Seen", away: Tensor) -> Tensor:
    """What is known of a ray beside colours, [N, 6]."""
    return torch.stack(
        [
            surface.found.float(),
            surface.inside.float(),
            2.0 * (surface.depth - away),
            2.0 * (surface.entry - away),
            2.0 * (surface.exit - surface.entry),
            5.0 * seen.spread,
        ],
        dim=1,
    )


class _Seen(NamedTuple):
    """What pictures show of N places: their mean colour [N, 3], how far they differ from it [N],
    and for each, nearest first: colour, alpha, how far the place lies behind its surface, the error
    of that, the cosine between its ray and the new one, [N, V, 7].
    """

    colour: Tensor
    spread: Tensor
    by_view: Tensor


def _look(views: DepthViews, order: list[int], eye: Eye, points: Tensor) -> _Seen:
    toward = F.normalize(eye.origin - points, dim=-1)
    colours, weights, rest = [], [], []
    for view in order:
        other = views.eyes[view]
        pixel, depth = other.project(points)
        grid = (2.0 * pixel / other.size - 1.0)[None, None]
        shown = F.grid_sample(views.premultiplied[view, None], grid, align_corners=False)
        shown = shown[0, :, 0].T
        alpha = shown[:, 3]
        colour = torch.where(
            alpha[:, None] > 0.05, shown[:, :3] / alpha[:, None].clamp_min(0.05), 0.5
        )
        surface = other.look_up(views.depth[view], points, 0.0)
        error = other.look_up(views.error[view], points, 0.0)
        behind = torch.where(surface > 0, (depth - surface).clamp(-0.1, 0.3), 0.3)
        cosine = (F.normalize(other.origin - points, dim=-1) * toward).sum(-1)
        visible = torch.exp(-((behind.clamp_min(0.0) / _HIDDEN) ** 2))
        weights.append(visible * alpha * torch.exp(_BY_ANGLE * (cosine - 1.0)) + 1e-6)
        colours.append(colour)
        rest.append(
            torch.stack([alpha, 10.0 * behind, (20.0 * error).clamp_max(3.0), cosine], dim=-1)
        )
    weight = torch.stack(weights)  # [V, N]
    weight = weight / weight.sum(0)
    colour = torch.stack(colours)
    mean = (weight.unsqueeze(-1) * colour).sum(0)
    spread = (weight * (colour - mean).abs().mean(-1)).sum(0)
    by_view = torch.cat([colour * 2.0 - 1.0, torch.stack(rest)], dim=-1).transpose(0, 1)
    return _Seen(mean, spread, by_view)
