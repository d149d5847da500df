"""Carry a point cloud along paths that are known, as those of a body that was moved by a formula.

Where every surface point goes is written beside the pictures (``surface_tracks.npy``). A point of
the cloud goes where the surface around it goes: by the rigid motion that fits its neighbours on the
surface best, weighted by their nearness (moving least squares, Schaefer et al. 2006, in 3D).
"""

import torch
from torch import Tensor

from sjc_papr.networks.point_cloud import gather_rows

NEIGHBOURS = 12
_AT_ONCE = 4096
# Weight of turning nothing, beside the neighbours' spread.
_LITTLE = 1e-6


def carry_along(points: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Where points [P, 3] go if surface points [N, 3] move from ``before`` to ``after``.

    Returns:
        Positions [P, 3] on the device and in the numbers of ``points``. A pure function.
    """
    return fit_motions(points, before, after)[1]


def fit_motions(points: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The same, with the rotation of each point's surroundings, [P, 3, 3]; rows: ``v @ R``."""
    old, new = before.to(points), after.to(points)
    rotations, moved = [], []
    for part in points.split(_AT_ONCE):
        index, near = nearest_with_weights(part, old, NEIGHBOURS)
        fitted = _moved_rigidly(part, gather_rows(old, index), gather_rows(new, index), near)
        rotations.append(fitted[0])
        moved.append(fitted[1])
    return torch.cat(rotations), torch.cat(moved)


def nearest_with_weights(points: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of the ``count`` others [N, 3] nearest to each point [P, 3], and shares that sum to
    1, [P, count] both; as many as there are.
    """
    distance, index = torch.cdist(points, others).topk(
        min(count, len(others)), dim=1, largest=False
    )
    # The farthest counts for little, so that no point jumps where neighbours change.
    near = 1.0 - distance / (1.01 * distance[:, -1:]).clamp_min(1e-9)
    return index, near / near.sum(1, keepdim=True)


def _moved_rigidly(
    points: Tensor, old: Tensor, new: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """The rotation and shift that take old to new [P, K, 3] best, in the least squares weighted
    with shares [P, K] (Kabsch 1976): rotations [P, 3, 3], and points [P, 3] so moved."""
    share = share.double()[..., None]
    old, new = old.double(), new.double()
    centre, target = (share * old).sum(1), (share * new).sum(1)
    old, new = old - centre[:, None], new - target[:, None]
    spread = old.mT @ (share * new)
    # Neighbours on a line leave the turn about it open: then as little as can be.
    little = _LITTLE * (share * old.square()).sum((1, 2)) + torch.finfo(old.dtype).tiny
    spread = spread + little[:, None, None] * torch.eye(3, dtype=old.dtype, device=old.device)
    left, _, right = torch.linalg.svd(spread)
    upright = torch.ones(len(points), 3, dtype=left.dtype, device=left.device)
    upright[:, 2] = torch.linalg.det(left @ right).sign()
    rotation = (left * upright[:, None]) @ right
    turned = ((points.double() - centre)[:, None] @ rotation)[:, 0]
    return rotation.to(points), (target + turned).to(points)
