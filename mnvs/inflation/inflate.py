"""The body behind a silhouette: inflated until it is round.

The half thickness h of a body whose outline is given solves ∇²(h²) = -4 with h = 0 at the outline:
a disc becomes a ball, a strip a tube. Inflation is what sketch-based modelling has built bodies
with since Teddy (Igarashi et al. 1999); by Poisson's equation for instance Monster Mash (Dvorožňák
et al. 2020).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnvs.inflation.colours import back_colours, own_colours
from mnvs.inflation.conjugate_gradients import solve
from mnvs.inflation.frustum import REACH, Frustum, Volume

# Density of the body, per world unit: a hundredth of a unit of it hides what is behind.
_DENSITY = 200.0
_DEPTHS = 128
_MOST_STEPS = 2000


def half_thickness(inside: Tensor) -> Tensor:
    """h [S, S], in pixels, of a silhouette bool [S, S]; 0 outside. By a five-point Laplacian."""
    mask = F.pad(inside.double(), (1, 1, 1, 1))

    def laplacian(u: Tensor) -> Tensor:
        around = u.roll(1, 0) + u.roll(-1, 0) + u.roll(1, 1) + u.roll(-1, 1)
        return (4.0 * u - around) * mask

    squared = solve(laplacian, 4.0 * mask, _MOST_STEPS)[1:-1, 1:-1]
    return squared.clamp_min(0.0).sqrt().to(torch.get_default_dtype())


def half_of(volume: Volume) -> Tensor:
    """Half thickness [S, S] of a body, world units, as ``inflate`` filled it; 0 outside."""
    return volume.density.sum(0) * (REACH / _DEPTHS / _DENSITY)


def inflate(picture: Tensor, frustum: Frustum, thickness: float) -> Volume:
    """The body of what a picture shows, around the plane through the origin.

    Args:
        picture: RGBA [4, S, S] in [0, 1], colours multiplied by alpha.
        frustum: of its camera.
        thickness: factor on the roundness; 1 = as thick as wide.
    """
    size = picture.shape[-1]
    alpha = picture[3]
    half = half_thickness(alpha >= 0.5) * frustum.pixel(size) * thickness
    depths = ((torch.arange(_DEPTHS) + 0.5) / _DEPTHS * 2.0 - 1.0) * REACH
    cell = 2.0 * REACH / _DEPTHS
    # What is thinner than a cell is thinned by its share of it, so that nothing is lost.
    share = ((half - depths.abs()[:, None, None]) / cell + 0.5).clamp(0.0, 1.0)
    least = (depths.abs() < cell)[:, None, None] * 0.5
    density = _DENSITY * torch.where(alpha >= 0.5, torch.maximum(share, least), 0.0)
    front = own_colours(picture)
    return Volume(density, front, back_colours(front, alpha >= 0.5))
