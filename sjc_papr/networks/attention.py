"""Proximity attention: what each ray takes from the points nearest to it (PAPR, Section 3.2)."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sjc_papr.networks.config import AttentionConfig
from sjc_papr.networks.embedding import (
    EmbeddingNetwork,
    PairInputs,
    SampleLayerNorm,
    encoded_width,
    normalised_product,
    positional_encoding,
)
from sjc_papr.networks.point_cloud import PointCloud, gather_rows
from sjc_papr.networks.precision import compute_dtype
from sjc_papr.networks.rays import RayPointGeometry


class Attended(NamedTuple):
    """What attention gives for each ray.

    Attributes:
        features: fused values, [..., C].
        attention_weights: softmax over the K points alone, [..., K].
        alpha: opacity, the points' share of a softmax over points and background, [...].
        scores: scores of the K points before the softmax, [..., K].
    """

    features: Tensor
    attention_weights: Tensor
    alpha: Tensor
    scores: Tensor


class ProximityAttention(nn.Module):
    """Keys and queries score how well a point answers a ray; values are what the ray takes from it.

    What the networks see of a pair is ``config.offsets``:

    * ``official``, as in zvict/papr: the point's position, the vector from the camera centre to the
      point's projection on the ray, and the offset from there. Distant cameras saturate it
      (attention starts dead).
    * ``centred``: the same, but the projection is measured from the plane through the world's
      origin, so that inputs stay of object size however far the camera is.
    * ``relative``: no place in the world at all, only the point's feature, its depth behind the
      first of the K, its offset and the viewing direction. What is learned moves with the points.

    Args:
        point_features: channels of the point features.
        spacing: typical distance between neighbouring points, the unit of ``config.bandwidth``.
    """

    def __init__(self, config: AttentionConfig, point_features: int, spacing: float) -> None:
        super().__init__()
        self.config = config
        geometry, width = encoded_width(3, config.frequencies), config.width
        shape: dict[str, Any] = {"activation": config.activation, "normalise": config.normalise}
        # Without a normalisation after it, the key's last linear layer is project_key itself.
        key_widths = [width] * config.key_layers
        self.key = EmbeddingNetwork(
            2 * geometry + (point_features if config.offsets == "relative" else geometry),
            key_widths,
            activate_last=not config.normalise,
            **shape,
        )
        self.query = EmbeddingNetwork(geometry, [width] * config.query_layers, **shape)
        self.value = EmbeddingNetwork(
            2 * geometry + point_features,
            [width] * (config.value_layers - 1),
            activation=config.activation,
            normalise=False,
            activate_last=True,
            skips=config.value_skips,
        )
        self.fuse = nn.Linear(width, config.value_width)
        nn.init.xavier_uniform_(self.fuse.weight)
        self.project_key = nn.Linear(config.width, config.score_width)
        self.project_query = nn.Linear(config.width, config.score_width)
        nn.init.xavier_uniform_(self.project_key.weight)
        nn.init.xavier_uniform_(self.project_query.weight)
        if config.proximity:
            self.log_bandwidth = nn.Parameter(torch.tensor(math.log(config.bandwidth * spacing)))
            self.log_occlusion = nn.Parameter(torch.tensor(math.log(config.occlusion)))

    def forward(
        self,
        directions: Tensor,
        points: Tensor,
        geometry: RayPointGeometry,
        cloud: PointCloud,
        indices: Tensor,
    ) -> Attended:
        """Attention of rays to their K points.

        Args:
            directions: [..., 3] unit. points: positions of the K points, [..., K, 3] world units.
            cloud: all points. indices: which of them the K are, [..., K].

        Returns:
            Scores and attention_weights in float32, features in the format of autocast.
        """
        dtype = compute_dtype(directions.device)
        keys, of_value = self._inputs(directions, points, geometry, cloud, indices)
        keys, values = self.key.before_norm(keys), self.value.of_pairs(of_value)
        query = self.project_query(self.query(self._encode(self._view(directions), 1.0, dtype)))

        # query · (W key + b) = (Wᵀ query) · key + query · b: one product per ray instead of one
        # per point.
        match = self._match(keys, query @ self.project_key.weight)
        match = match + (query @ self.project_key.bias).unsqueeze(-1)
        influence = gather_rows(cloud.influence, indices)
        scores = self._activate(match / math.sqrt(self.config.score_width)) * influence
        if self.config.proximity:
            scores = scores + self._proximity(geometry)
        # Equal to a softmax over points and background followed by renormalising the points' part,
        # but without the 0 / 0 of rays whose every score is far below the background's.
        attention_weights = scores.softmax(dim=-1)
        alpha = torch.sigmoid(scores.logsumexp(dim=-1) - self.config.background_score)
        # The value's last layer is linear and the weights sum to one, so it may follow the sum
        # over K.
        fused = self.fuse((attention_weights.to(dtype).unsqueeze(-2) @ values).squeeze(-2))
        return Attended(fused, attention_weights, alpha, scores)

    def _match(self, keys: Tensor, query: Tensor) -> Tensor:
        """Products of keys [..., K, n], normalised if so configured, and queries [..., n]."""
        if isinstance(self.key.output_norm, SampleLayerNorm):
            return normalised_product(keys, query, self.key.output_norm)
        return (keys @ query.unsqueeze(-1)).squeeze(-1).float()

    def _inputs(
        self,
        directions: Tensor,
        points: Tensor,
        geometry: RayPointGeometry,
        cloud: PointCloud,
        indices: Tensor,
    ) -> tuple[Tensor, PairInputs]:
        """What the key and the value network see of each pair, in the format of autocast."""
        config, dtype = self.config, compute_dtype(directions.device)
        scale, rays = config.coordinate_scale, directions.unsqueeze(-2)
        offset = self._encode(geometry.offset, scale, dtype)
        if config.offsets == "relative":
            view = self._encode(self._view(rays), 1.0, dtype)
            axis = rays if config.view_dependent else _first_axis(rays)
            depth = self._encode(_behind_first(geometry.ray_distance) * axis, scale, dtype)
            of_points = gather_rows(cloud.features, indices).to(dtype)
            of_value = PairInputs(view, offset, cloud.features, indices)
            return torch.cat([of_points, depth, offset], dim=-1), of_value
        projection = geometry.projection
        if config.offsets == "centred":
            projection = (points * rays).sum(-1, keepdim=True) * rays
        projection = self._encode(projection, scale, dtype)
        # PAPR keeps point positions out of the key's gradient; they learn through the offsets.
        place = gather_rows(self._encode(cloud.positions.detach(), scale, dtype), indices)
        pair = torch.cat([projection, offset], dim=-1)
        return torch.cat([place, pair], dim=-1), PairInputs(None, pair, cloud.features, indices)

    def _view(self, directions: Tensor) -> Tensor:
        """The directions the networks see; all the same where nothing may depend on them."""
        return directions if self.config.view_dependent else torch.zeros_like(directions)

    def _encode(self, x: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
        # Vectors to the projection are long: doubling angles would lose digits that imported
        # weights rely on.
        recurrence = self.config.offsets != "official"
        return positional_encoding(
            x * scale, self.config.frequencies, recurrence=recurrence, dtype=dtype
        )

    def _activate(self, match: Tensor) -> Tensor:
        if self.config.score_activation == "relu":
            return F.relu(match)
        return F.softplus(match)

    def _proximity(self, geometry: RayPointGeometry) -> Tensor:
        """Fall of the scores with squared distance to the ray and depth behind the first point."""
        bandwidth = self.log_bandwidth.exp()
        # A ray begins at the eye: what lies behind it is as far as the eye is.
        distance = (
            geometry.offset.square().sum(-1) + geometry.ray_distance[..., 0].clamp(max=0.0).square()
        )
        behind = _behind_first(geometry.ray_distance)[..., 0]
        return -distance / bandwidth.square() - self.log_occlusion.exp() * behind / bandwidth


def _first_axis(like: Tensor) -> Tensor:
    """(1, 0, 0), made on the device: a copy from the processor would wait for it."""
    axis = torch.zeros(3, dtype=like.dtype, device=like.device)
    axis[0] = 1.0
    return axis


def _behind_first(distance: Tensor) -> Tensor:
    """How far behind the first of the K points in front of the eye each lies, [..., K, 1], ≥ 0."""
    first = distance.masked_fill(distance <= 0.0, torch.inf).amin(dim=-2, keepdim=True)
    return (distance - first.masked_fill(first.isinf(), 0.0)).clamp(min=0.0)
