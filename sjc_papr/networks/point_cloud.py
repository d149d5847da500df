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


def gather_rows(values: Tensor, indices: Tensor) -> Tensor:
    """``values[indices]`` whose gradient is summed in a fixed order on a CPU.

    Indexing with a tensor adds gradients atomically on several CPU threads, and then no two runs
    are equal to the last bit. On a GPU this does so too.
    """
    return values.index_select(0, indices.flatten()).unflatten(0, indices.shape)


@torch.no_grad()
def keep_points(cloud: PointCloud, keep: Tensor, optimizer: Optimizer | None = None) -> None:
    """Keep the points named by ``keep`` (bool [P] or indices), their order and optimizer state."""
    for parameter in cloud.parameters():
        moments = _row_moments(parameter, optimizer)
        for key, moment in moments.items():
            moments[key] = moment[keep]
        _replace(parameter, parameter.data[keep], moments, optimizer)


@torch.no_grad()
def append_points(cloud: PointCloud, new: PointRows, optimizer: Optimizer | None = None) -> None:
    """Add points at the end; their optimizer moments start at zero."""
    for name, rows in new._asdict().items():
        parameter = getattr(cloud, name)
        moments = _row_moments(parameter, optimizer)
        for key, moment in moments.items():
            moments[key] = torch.cat([moment, torch.zeros_like(rows).to(moment)])
        _replace(parameter, torch.cat([parameter.data, rows.to(parameter)]), moments, optimizer)


def _row_moments(parameter: Tensor, optimizer: Optimizer | None) -> dict[str, Tensor]:
    """Optimizer state that has one row per point (Adam's moments, not its step count)."""
    state = optimizer.state.get(parameter, {}) if optimizer is not None else {}
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    }


def _replace(
    parameter: Tensor, rows: Tensor, moments: dict[str, Tensor], optimizer: Optimizer | None
) -> None:
    """Put new rows into the same Parameter object, so that no optimizer holds a dead tensor."""
    parameter.data = rows.contiguous()
    parameter.grad = None
    if optimizer is not None and moments:
        optimizer.state[parameter].update(moments)
