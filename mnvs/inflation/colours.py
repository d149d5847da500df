"""Colours of a body of which one side is seen."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnvs.inflation.conjugate_gradients import solve

# The back's colours come from this far inside the outline, as shares of the picture's side: not
# from the outline itself, which may be drawn in ink or mixed with the background.
_BAND, _BAND_WIDTH = 0.027, 0.014
# How much the band's colours count against smoothness between neighbouring pixels.
_FIDELITY = 0.3
_MOST_STEPS = 2000


def own_colours(picture: Tensor) -> Tensor:
    """RGB [3, S, S] of what is shown, grown beyond its outline so that no background mixes in.

    Args:
        picture: RGBA [4, S, S] in [0, 1], colours multiplied by alpha.
    """
    colours, weight = picture[:3], picture[3:]
    # What is too thin to be opaque anywhere has no surer colour than its own.
    plain = colours / weight.clamp_min(1e-6)
    sure = (weight >= 0.95).float()
    colours, weight = colours * sure, weight * sure
    for _ in range(8):
        grown = F.avg_pool2d(torch.cat([colours, weight])[None], 3, 1, 1)[0]
        colours = torch.where(weight > 0.0, colours, grown[:3])
        weight = torch.where(weight > 0.0, weight, grown[3:])
    return torch.where(weight > 0.0, colours / weight.clamp_min(1e-6), plain).clamp(0.0, 1.0)


def back_colours(front: Tensor, inside: Tensor) -> Tensor:
    """RGB [3, S, S] of the side that is not seen: the outline's colours, spread smoothly inwards.

    What is inside the outline, a face or a belly, is the front's alone; what reaches the outline,
    a stripe or a shoe, goes round the body. u minimises Σ w |u - front|² + Σ |∇u|² over the
    silhouette, w being largest in a band along the outline.

    Args:
        front: RGB [3, S, S] in [0, 1]. inside: the silhouette, bool [S, S].
    """
    size = inside.shape[-1]
    off = (distance_inside(inside) - _BAND * size) / max(_BAND_WIDTH * size, 0.5)
    weight = _FIDELITY * torch.exp(-off.square()) * inside
    mask, weight = (F.pad(x.double(), (1, 1, 1, 1)) for x in (inside, weight))

    def operator(u: Tensor) -> Tensor:
        made = weight * u
        for axis in (-2, -1):
            for shift in (1, -1):
                made = made + mask * mask.roll(shift, axis) * (u - u.roll(shift, axis))
        return made

    found = solve(operator, weight * F.pad(front.double(), (1, 1, 1, 1)), _MOST_STEPS)
    return torch.where(inside, found[:, 1:-1, 1:-1].to(front.dtype).clamp(0.0, 1.0), front)


def distance_inside(inside: Tensor) -> Tensor:
    """Chessboard distance of each inside pixel of bool [S, S] to the nearest outside; 0 outside.

    Beyond the picture is outside.
    """
    distance, left = torch.zeros(inside.shape), inside
    while bool(left.any()):
        distance = distance + left
        around = F.pad((~left).float()[None, None], (1, 1, 1, 1), value=1.0)
        left = F.max_pool2d(around, 3, 1)[0, 0] < 0.5
    return distance
