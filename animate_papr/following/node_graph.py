"""A cloud carried by few nodes: each node turns and shifts, points go with the nodes around them.

Embedded deformation (Sumner et al. 2007) with the stiffness of as-rigid-as-possible surfaces
(Sorkine and Alexa 2007). Vectors are rows: a rotation ``R`` takes ``v`` to ``v @ R``.
"""

import torch
from torch import Tensor

from animate_papr.following.known_motion import fit_motions, nearest_with_weights
from sjc_papr.networks.neighbours import nearest_neighbours
from sjc_papr.networks.point_cloud import gather_rows

CARRIERS = 4
EDGES = 8
# Of a typical edge: stretched by more, an edge resists less and less. Parts that only touched in
# the rest shape, as legs side by side, can so come apart.
_TEARS_AT = 0.5


class NodeGraph:
    """Nodes on a rest shape, and the points that they carry.

    Args:
        rest: the shape that is kept as far as can be, [P, 3]; the first frame's points.
        before: the same points where the motion begins, [P, 3].
        count: how many nodes.

    Raises:
        ValueError: the two have different numbers of points.
    """

    def __init__(self, rest: Tensor, before: Tensor, count: int) -> None:
        if rest.shape != before.shape:
            raise ValueError(f"rest shape {list(rest.shape)}, points {list(before.shape)}")
        self.before = before
        at_rest = rest[farthest_points(rest, count)]
        # A node is where, and turned as, the points around it are: one point alone may be astray.
        self.turned, self.start = fit_motions(at_rest, rest, before)
        self.carriers, self.shares = nearest_with_weights(rest, at_rest, CARRIERS)
        self.offsets = before[:, None] - self.start[self.carriers]
        distances, self.ends = nearest_neighbours(at_rest, EDGES)
        self.edges = at_rest[self.ends] - at_rest[:, None]
        # One node has no edges.
        unit = distances.square().mean() if distances.numel() else torch.ones_like(rest[0, 0])
        self.unit = unit.clamp_min(torch.finfo(rest.dtype).tiny)

    def carry(self, turns: Tensor, shifts: Tensor, chosen: Tensor) -> Tensor:
        """Where the ``chosen`` points [N] go, [N, 3].

        Args:
            turns, shifts: of each node since ``before``, rotations [M, 3, 3] and vectors [M, 3].
        """
        carriers, shares = self.carriers[chosen], self.shares[chosen]
        turned = (self.offsets[chosen].unsqueeze(-2) @ gather_rows(turns, carriers)).squeeze(-2)
        return (shares.unsqueeze(-1) * (turned + gather_rows(self.start + shifts, carriers))).sum(1)

    def stretch(self, turns: Tensor, shifts: Tensor) -> Tensor:
        """How far the edges between nodes are from those of the rest shape, each turned as its
        node; a mean in squares of a typical edge.
        """
        if not self.edges.numel():
            return shifts.sum() * 0.0
        now = self.start + shifts
        kept = self.edges @ (self.turned @ turns)
        off = gather_rows(now, self.ends) - now[:, None] - kept
        squares = off.square().sum(-1) / self.unit
        return _TEARS_AT**2 * torch.log1p(squares / _TEARS_AT**2).mean()


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Indices of ``count`` points [P, 3] that cover the others: each next one is the farthest from
    all before it. All of them where there are fewer.
    """
    found = [0]
    distance = (points - points[0]).square().sum(-1)
    for _ in range(min(count, len(points)) - 1):
        found.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[found[-1]]).square().sum(-1))
    return torch.tensor(found, device=points.device)
