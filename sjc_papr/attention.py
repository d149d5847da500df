"""Proximity attention: what each ray takes from the points nearest to it (PAPR, Section 3.2)."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sjc_papr.config import AttentionConfig
from sjc_papr.embedding import EmbeddingNetwork, encoded_width, positional_encoding
from sjc_papr.precision import compute_dtype
from sjc_papr.rays import RayPointGeometry


class Attended(NamedTuple):
    """What attention gives for each ray.

    Attributes:
        features: fused values, [..., C].
        shares: softmax over the K points alone, [..., K].
        alpha: what the background leaves in a softmax over points and background, [...].
        scores: scores of the K points before the softmax, [..., K].
    """

    features: Tensor
    shares: Tensor
    alpha: Tensor
    scores: Tensor


class ProximityAttention(nn.Module):
    """Keys from point and ray geometry, queries from rays, values from geometry and point features.

    ``offsets: official`` feeds the eye-to-foot vector as zvict/papr does. ``centred`` measures the
    foot from the plane through the world's origin instead, so that inputs stay of object size
    however far the camera is; the published form saturates its normalisation at large radius and
    attention can start dead.
    """

    def __init__(self, config: AttentionConfig, point_features: int) -> None:
        super().__init__()
        self.config = config
        geometry, width = encoded_width(3, config.frequencies), config.width
        shape: dict[str, Any] = {"activation": config.activation, "normalise": config.normalise}
        # Without a normalisation after it, the key's last linear layer is project_key itself.
        key_widths = [width] * config.key_layers
        self.key = EmbeddingNetwork(
            3 * geometry, key_widths, activate_last=not config.normalise, **shape
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
        scale, dtype = self.config.coordinate_scale, compute_dtype(directions.device)
        # PAPR keeps point positions out of the key's gradient; they learn through the offsets.
        point_code = self._encode(points.detach() * scale).to(dtype)
        foot_code = self._encode(self._foot(directions, points, geometry) * scale).to(dtype)
        offset_code = self._encode(geometry.offset * scale).to(dtype)
        keys = self.key(torch.cat([point_code, foot_code, offset_code], dim=-1))
        query = self.project_query(self.query(self._encode(directions).to(dtype)))
        values = self.value(torch.cat([foot_code, offset_code, features.to(dtype)], dim=-1))

        # query · (W key + b) = (Wᵀ query) · key + query · b: one product per ray instead of one
        # per point.
        match = (keys @ (query @ self.project_key.weight).unsqueeze(-1)).squeeze(-1)
        match = match + (query @ self.project_key.bias).unsqueeze(-1)
        scores = self._activate(match.float() / math.sqrt(self.config.score_width)) * influence
        if self.config.proximity:
            scores = scores + self._proximity(geometry)
        # Equal to a softmax over points and background followed by renormalising the points' part,
        # but without the 0 / 0 of rays whose every score is far below the background's.
        shares = scores.softmax(dim=-1)
        alpha = torch.sigmoid(scores.logsumexp(dim=-1) - self.config.background_score)
        # The value's last layer is linear and the shares sum to one, so it may follow the sum over
        # K.
        fused = self.fuse((shares.to(dtype).unsqueeze(-2) @ values).squeeze(-2))
        return Attended(fused, shares, alpha, scores)

    def _encode(self, x: Tensor) -> Tensor:
        # Eye-to-foot vectors are long: doubling their angles would lose digits imported weights
        # rely on.
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
        """Scores fall with the squared distance to the ray, and with depth behind the first
        point.
        """
        bandwidth = self.log_bandwidth.exp()
        near = geometry.offset.square().sum(-1) / bandwidth.square()
        along = geometry.along.squeeze(-1)
        behind = (along - along.amin(-1, keepdim=True)) / bandwidth
        return -near - self.log_occlusion.exp() * behind
