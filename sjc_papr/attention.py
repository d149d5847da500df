"""Proximity attention: what each ray takes from the points nearest to it (PAPR, Section 3.2)."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sjc_papr.config import AttentionConfig
from sjc_papr.embedding import EmbeddingNetwork, encoded_width, positional_encoding
from sjc_papr.rays import RayPointGeometry


class Attended(NamedTuple):
    """What attention gives for each ray.

    Attributes:
        features: fused values, weights renormalised over the K points, [..., C].
        weights: softmax over K points and the background, the background last, [..., K + 1].
        scores: scores of the K points before the softmax, [..., K].
    """

    features: Tensor
    weights: Tensor
    scores: Tensor


class ProximityAttention(nn.Module):
    """Keys from point and ray geometry, queries from rays, values from geometry and point features.

    ``offsets: official`` feeds the eye-to-foot vector as zvict/papr does. ``centred`` measures the foot from the
    plane through the world's origin instead, so that inputs stay of object size however far the camera is;
    the published form saturates its normalisation at large radius and attention can start dead.
    """

    def __init__(self, config: AttentionConfig, point_features: int) -> None:
        super().__init__()
        self.config = config
        geometry = encoded_width(3, config.frequencies)
        self.key = EmbeddingNetwork(
            3 * geometry,
            config.width,
            config.width,
            config.key_layers,
            activation=config.activation,
            normalise=True,
        )
        self.query = EmbeddingNetwork(
            geometry,
            config.width,
            config.width,
            config.query_layers,
            activation=config.activation,
            normalise=True,
        )
        self.value = EmbeddingNetwork(
            2 * geometry + point_features,
            config.width,
            config.value_width,
            config.value_layers,
            activation=config.activation,
            normalise=False,
            skips=config.value_skips,
        )
        self.project_key = nn.Linear(config.width, config.score_width)
        self.project_query = nn.Linear(config.width, config.score_width)
        nn.init.xavier_uniform_(self.project_key.weight)
        nn.init.xavier_uniform_(self.project_query.weight)
        if config.proximity:
            self.log_bandwidth = nn.Parameter(torch.tensor(math.log(config.bandwidth)))
            self.log_occlusion = nn.Parameter(torch.tensor(math.log(config.occlusion)))

    def forward(
        self,
        directions: Tensor,
        points: Tensor,
        geometry: RayPointGeometry,
        influence: Tensor,
        features: Tensor,
    ) -> Attended:
        """Attention of rays to their K points.

        Args:
            directions: [..., 3] unit. points: [..., K, 3] world units.
            influence: [..., K]. features: [..., K, C].
        """
        scale = self.config.coordinate_scale
        # PAPR keeps point positions out of the key's gradient; they learn through the offsets.
        point_code = self._encode(points.detach() * scale)
        foot_code = self._encode(self._foot(directions, points, geometry) * scale)
        offset_code = self._encode(geometry.offset * scale)
        key = self.project_key(self.key(torch.cat([point_code, foot_code, offset_code], dim=-1)))
        query = self.project_query(self.query(self._encode(directions)))
        value = self.value(torch.cat([foot_code, offset_code, features], dim=-1))

        match = (key @ query.unsqueeze(-1)).squeeze(-1).float() / math.sqrt(self.config.score_width)
        scores = self._activate(match) * influence
        if self.config.proximity:
            scores = scores + self._proximity(geometry)
        background = scores.new_full((*scores.shape[:-1], 1), self.config.background_score)
        weights = torch.cat([scores, background], dim=-1).softmax(dim=-1)
        among_points = weights[..., :-1]
        among_points = among_points / among_points.sum(-1, keepdim=True)
        fused = (among_points.to(value.dtype).unsqueeze(-2) @ value).squeeze(-2)
        return Attended(fused, weights, scores)

    def _encode(self, x: Tensor) -> Tensor:
        # Eye-to-foot vectors are long: doubling their angles would lose digits imported weights rely on.
        recurrence = self.config.offsets == "centred"
        return positional_encoding(x, self.config.frequencies, recurrence=recurrence)

    def _foot(self, directions: Tensor, points: Tensor, geometry: RayPointGeometry) -> Tensor:
        if self.config.offsets == "official":
            return geometry.foot
        rays = directions.unsqueeze(-2)
        return (points * rays).sum(-1, keepdim=True) * rays

    def _activate(self, match: Tensor) -> Tensor:
        if self.config.score_activation == "relu":
            return F.relu(match)
        return F.softplus(match)

    def _proximity(self, geometry: RayPointGeometry) -> Tensor:
        """Scores fall with the squared distance to the ray, and with depth behind the first point."""
        bandwidth = self.log_bandwidth.exp()
        near = geometry.offset.square().sum(-1) / bandwidth.square()
        along = geometry.along.squeeze(-1)
        behind = (along - along.amin(-1, keepdim=True)) / bandwidth
        return -near - self.log_occlusion.exp() * behind
