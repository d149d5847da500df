"""The body behind a silhouette: inflated until it is round.

The half thickness h of a body whose outline is given solves ∇²(h²) = -4 with h = 0 at the outline:
a disc becomes a ball, a strip a tube. Inflation is what sketch-based modelling has built bodies
with since Teddy (Igarashi et al. 1999); by Poisson's equation for instance Monster Mash (Dvorožňák
et al. 2020).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnvs.inflation.frustum import REACH, Frustum, Volume

# Density of the body, per world unit: a hundredth of a unit of it hides what is behind.
_DENSITY = 200.0
_DEPTHS = 64
# The back's colours are the front's without what is smaller than this share of the picture: faces.
_BLUR = 0.06
_SHARPEST, _MOST_STEPS = 1e-4, 2000


def half_thickness(inside: Tensor) -> Tensor:
    """h [S, S], in pixels, of a silhouette bool [S, S]; 0 outside.

    By conjugate gradients on the five-point Laplacian.
    """
    mask = F.pad(inside.double(), (1, 1, 1, 1))

    def laplacian(u: Tensor) -> Tensor:
        around = u.roll(1, 0) + u.roll(-1, 0) + u.roll(1, 1) + u.roll(-1, 1)
        return (4.0 * u - around) * mask

    u, residual = torch.zeros_like(mask), 4.0 * mask
    direction, error = residual, residual.square().sum()
    goal = _SHARPEST**2 * error
    for _ in range(_MOST_STEPS):
        if error <= goal:
            break
        ahead = laplacian(direction)
        step = error / (direction * ahead).sum()
        u, residual = u + step * direction, residual - step * ahead
        last, error = error, residual.square().sum()
        direction = residual + error / last * direction
    return u[1:-1, 1:-1].clamp_min(0.0).sqrt().to(torch.get_default_dtype())


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
    return Volume(density, front, blurred(front, alpha, _BLUR * size))


def own_colours(picture: Tensor) -> Tensor:
    """RGB [3, S, S] of what is shown, grown beyond its outline so that no background mixes in."""
    colours, weight = picture[:3], picture[3:]
    sure = (weight >= 0.95).float()
    colours, weight = colours * sure, weight * sure
    for _ in range(8):
        grown = F.avg_pool2d(torch.cat([colours, weight])[None], 3, 1, 1)[0]
        colours = torch.where(weight > 0.0, colours, grown[:3])
        weight = torch.where(weight > 0.0, weight, grown[3:])
    return (colours / weight.clamp_min(1e-6)).clamp(0.0, 1.0)


def blurred(colours: Tensor, alpha: Tensor, sigma: float) -> Tensor:
    """RGB [3, S, S] averaged over the object around, by a Gaussian of ``sigma`` pixels."""
    reach = max(1, round(3.0 * sigma))
    steps = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-0.5 * (steps / sigma).square())
    kernel = kernel / kernel.sum()
    inside = (alpha >= 0.5).float()[None]
    stacked = torch.cat([colours * inside, inside])[:, None]
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        pad = (reach, 0) if shape[2] == -1 else (0, reach)
        stacked = F.conv2d(stacked, kernel.view(shape), padding=pad)
    mean = stacked[:, 0]
    return torch.where(mean[3:] > 1e-3, mean[:3] / mean[3:].clamp_min(1e-3), colours)
