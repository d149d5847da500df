"""The point cloud, and changing its size without losing what the optimizer knows of it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class PointRows(NamedTuple):
    """Values of some points.

    Attributes:
        positions: [N, 3] world units. influence: [N]. features: [N, C].
    """

    positions: Tensor
    influence: Tensor
    features: Tensor


class PointCloud(nn.Module):
    """Positions [P, 3] (world units), influence scores [P] and features [P, C], all trainable."""

    def __init__(self, positions: Tensor, influence: Tensor, features: Tensor) -> None:
        super().__init__()
        count = positions.shape[0]
        assert positions.shape == (count, 3) and influence.shape == (count,)
        assert features.ndim == 2 and features.shape[0] == count
        self.positions = nn.Parameter(positions.clone())
        self.influence = nn.Parameter(influence.clone())
        self.features = nn.Parameter(features.clone())

    def __len__(self) -> int:
        return self.positions.shape[0]

    def rows(self) -> PointRows:
        """The current values, detached, sharing memory with the parameters."""
        return PointRows(self.positions.detach(), self.influence.detach(), self.features.detach())


@torch.no_grad()
def keep_points(cloud: PointCloud, keep: Tensor, optimizer: Optimizer | None = None) -> None:
    """Keep the points named by ``keep`` (bool [P] or indices), their order and their optimizer state."""
    for parameter in cloud.parameters():
        _replace_rows(parameter, optimizer, lambda rows: rows[keep])


@torch.no_grad()
def append_points(cloud: PointCloud, new: PointRows, optimizer: Optimizer | None = None) -> None:
    """Add points at the end; their optimizer moments start at zero."""
    for name, rows in new._asdict().items():
        parameter = getattr(cloud, name)
        _replace_rows(
            parameter,
            optimizer,
            lambda old, rows=rows: torch.cat([old, rows.to(old)]),
            lambda moment, rows=rows: torch.cat([moment, torch.zeros_like(rows).to(moment)]),
        )


def _replace_rows(parameter, optimizer, change, change_moment=None) -> None:  # type: ignore[no-untyped-def]
    """Apply ``change`` to a parameter and ``change_moment`` to its per-row optimizer state.

    The Parameter object stays the same, so no optimizer is left holding a tensor that no longer renders.
    """
    state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            state[key] = (change_moment or change)(value).contiguous()
    parameter.data = change(parameter.data).contiguous()
    parameter.grad = None
