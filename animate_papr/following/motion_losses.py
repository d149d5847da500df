"""Neighbouring points move together: losses on displacements since the frame before."""

import torch
from torch import Tensor

from animate_papr.following.config import MotionConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.neighbours import nearest_neighbours
from sjc_papr.networks.point_cloud import gather_rows
from sjc_papr.training.trainer import ModelTerm


class MotionTerms:
    """Compares a cloud with where its points were.

    Args:
        before: positions [P, 3] where the frame's training begins: where the points were found to
            have gone, or of the frame before where nothing was sought.
        neighbours: how many neighbours each point is compared with.

    Both terms are divided by the mean squared distance to a neighbour, so weights do not depend on
    the number of points or on the unit of length.
    """

    def __init__(self, before: Tensor, neighbours: int) -> None:
        self.before = before.detach().clone()
        self.distances, self.indices = nearest_neighbours(self.before, neighbours)
        self.unit = self.distances.square().mean()

    def smooth(self, model: Papr) -> Tensor:
        """Mean squared difference of each displacement to the mean of its neighbours'."""
        return self.smooth_of(model.points.positions)

    def smooth_of(self, positions: Tensor) -> Tensor:
        """The same for positions [P, 3]."""
        moved = positions - self.before
        others = gather_rows(moved, self.indices).mean(dim=1)
        return (moved - others).square().sum(-1).mean() / self.unit

    def rigid(self, model: Papr) -> Tensor:
        """Mean squared change of the distances to neighbours."""
        now = model.points.positions
        distances = (now.unsqueeze(1) - gather_rows(now, self.indices)).norm(dim=-1)
        return (distances - self.distances).square().mean() / self.unit


def motion_terms(config: MotionConfig, before: Tensor) -> dict[str, ModelTerm]:
    """The terms with a non-zero weight, by name."""
    if not config.smooth and not config.rigid:
        return {}
    with torch.no_grad():
        terms = MotionTerms(before, config.neighbours)
    wanted = {
        "motion_smooth": (config.smooth, terms.smooth),
        "motion_rigid": (config.rigid, terms.rigid),
    }
    return {name: term for name, term in wanted.items() if term[0]}
