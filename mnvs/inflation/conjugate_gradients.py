"""Symmetric systems over pixels, solved by conjugate gradients (Hestenes and Stiefel 1952)."""

from collections.abc import Callable

import torch
from torch import Tensor


def solve(operator: Callable[[Tensor], Tensor], right: Tensor, most_steps: int) -> Tensor:
    """u with ``operator(u) = right``, each picture of the leading axes by itself.

    Args:
        operator: linear, symmetric and positive on what ``right`` can reach; it mixes no pictures.
        right: [..., H, W], float64 to reach the accuracy.
        most_steps: at which it stops even if the residual is not yet 1e-4 of ``right``.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((-2, -1), keepdim=True)

    u, residual = torch.zeros_like(right), right
    direction, error = residual, dot(residual, residual)
    goal = 1e-8 * error
    for _ in range(most_steps):
        if bool((error <= goal).all()):
            break
        ahead = operator(direction)
        # Where the right side is 0, so is the direction: 0 / 0 stays 0.
        step = error / dot(direction, ahead).clamp_min(1e-300)
        u, residual = u + step * direction, residual - step * ahead
        last, error = error, dot(residual, residual)
        direction = residual + error / last.clamp_min(1e-300) * direction
    return u
