"""PAPR written down plainly: every ray looks at every point, every network sees every pair.

The slow twin of ``sjc_papr.networks.renderer``, and what ``scripts/bench_papr.py`` measures it
against. It takes the weights of a ``Papr`` model and computes in float32 throughout.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sjc_papr.networks.embedding import EmbeddingNetwork, SampleLayerNorm
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import RayBundle


def plain_render(model: Papr, rays: RayBundle, background: float = 1.0) -> Tensor:
    """[B, H, W, 3], differentiable in everything ``render`` is."""
    config, cloud, attention = model.config, model.points, model.attention
    settings = config.attention
    directions = rays.directions.unsqueeze(-2)
    eye = rays.origins[:, None, None, None]
    indices = dense_search(rays, cloud.positions.detach(), config.neighbours, config.distance_to)
    points, features = cloud.positions[indices], cloud.features[indices]

    to_point = points - eye
    along = (to_point * directions).sum(-1, keepdim=True)
    offset = to_point - along * directions
    first = along.masked_fill(along <= 0.0, torch.inf).amin(dim=-2, keepdim=True)
    behind = (along - first.masked_fill(first.isinf(), 0.0)).clamp(min=0.0)
    everywhere = directions.expand_as(points)
    scale, octaves = settings.coordinate_scale, settings.frequencies
    across = encode(offset * scale, octaves)
    if settings.offsets == "relative":
        keys = torch.cat([features, encode(behind * directions * scale, octaves), across], -1)
        values = torch.cat([encode(everywhere, octaves), across, features], -1)
    else:
        foot = along * directions
        if settings.offsets == "centred":
            foot = (points * directions).sum(-1, keepdim=True) * directions
        place, foot = encode(points.detach() * scale, octaves), encode(foot * scale, octaves)
        keys = torch.cat([place, foot, across], -1)
        values = torch.cat([foot, across, features], -1)

    keys = attention.project_key(network(attention.key, keys))
    queries = network(attention.query, encode(everywhere, octaves))
    queries = attention.project_query(queries)
    values = attention.fuse(network(attention.value, values))

    match = (keys * queries).sum(-1) / math.sqrt(settings.score_width)
    match = F.relu(match) if settings.score_activation == "relu" else F.softplus(match)
    scores = match * cloud.influence[indices]
    if settings.proximity:
        bandwidth, occlusion = attention.log_bandwidth.exp(), attention.log_occlusion.exp()
        squared = offset.square().sum(-1) + along[..., 0].clamp(max=0.0).square()
        scores = scores - squared / bandwidth**2 - occlusion * behind[..., 0] / bandwidth
    of_background = torch.full_like(scores[..., :1], settings.background_score)
    weights = torch.cat([scores, of_background], -1).softmax(-1)
    alpha = 1.0 - weights[..., -1:]
    # Not weights / (1 - background's): that is 0 / 0 for rays far from every point.
    shares = scores.softmax(-1)
    fused = (shares.unsqueeze(-1) * values).sum(-2)
    colour = model.unet(fused.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return colour * alpha + background * (1.0 - alpha)


@torch.no_grad()
def dense_search(rays: RayBundle, positions: Tensor, k: int, distance_to: str) -> Tensor:
    """K nearest points of every ray, [B, H, W, K], from all distances at once."""
    to_point = positions - rays.origins[:, None, None, None]
    directions = rays.directions.unsqueeze(-2)
    along = (to_point * directions).sum(-1, keepdim=True)
    distance = (to_point - along * directions).norm(dim=-1)
    if distance_to == "half_line":
        distance = torch.where(along[..., 0] < 0.0, to_point.norm(dim=-1), distance)
    return distance.topk(min(k, len(positions)), largest=False).indices


def encode(x: Tensor, octaves: int) -> Tensor:
    """Per coordinate x, sin x, cos x, sin 2x, ..."""
    parts = [x]
    for i in range(octaves):
        parts += [(x * 2.0**i).sin(), (x * 2.0**i).cos()]
    return torch.stack(parts, dim=-1).flatten(-2)


def network(net: EmbeddingNetwork, x: Tensor) -> Tensor:
    """Layer after layer."""
    x = inputs = normalise(net.input_norm, x)
    for i, layer in enumerate(net.layers):
        x = layer(torch.cat([x, inputs], dim=-1) if i in net.skips else x)
        if i < net.activated:
            x = F.leaky_relu(x, net.slope)
    return normalise(net.output_norm, x)


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Mean zero, sample deviation one, then weight and bias."""
    if not isinstance(norm, SampleLayerNorm):
        return x
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * norm.weight + norm.bias
