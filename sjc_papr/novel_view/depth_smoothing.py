"""Depth smoothing: neighbouring pixels of the object should lie at neighbouring depths.

Eq. (2) of the VideoPAPR report, 0.5 * (mean |dx D| + mean |dy D|), on differentiable depth. Two
things the equation leaves open are settled here. Only pairs of pixels that both show the object
are compared, since behind the silhouette there is no depth to be smooth. And depth is measured in
object lengths, so that a weight means the same in a world of another scale.
"""

import torch
from torch import Tensor

from sjc_papr.novel_view.geometry_config import SmoothConfig

# Nearer than this many object lengths, disparity is held constant: it has no bound at the eye.
_NEAREST = 0.01


def depth_smoothing(
    depth: Tensor, alpha: Tensor, rgb: Tensor, config: SmoothConfig, object_length: float
) -> Tensor:
    """Mean absolute difference of neighbours, averaged over the two directions.

    Args:
        depth: planar, [B, H, W], world units; differentiable.
        alpha: [B, H, W] in [0, 1]; only chooses the pairs, gets no gradient.
        rgb: [B, H, W, 3] in [0, 1]; only weights the pairs, gets no gradient.
        config: what is smoothed, and where.
        object_length: of the longest side of the object's box, world units.

    Returns:
        A number, the same for a world (and its ``object_length``) of any scale. Zero where no
        pair of pixels shows the object.
    """
    assert depth.ndim == 3 and alpha.shape == depth.shape and rgb.shape == (*depth.shape, 3)
    relative = depth / object_length
    if config.of == "disparity":
        relative = 1.0 / relative.clamp_min(_NEAREST)
    covered, colour = alpha.detach() > config.alpha_threshold, rgb.detach()
    along = [_mean_step(relative, covered, colour, axis, config.edge_aware) for axis in (1, 2)]
    return 0.5 * torch.stack(along).sum()


def _mean_step(
    values: Tensor, covered: Tensor, colour: Tensor, axis: int, edge_aware: float
) -> Tensor:
    """Mean over the covered pairs along one axis of weight times absolute difference."""
    count = values.shape[axis] - 1
    near, far = (covered.narrow(axis, start, count) for start in (0, 1))
    pairs = near & far
    steps = values.diff(dim=axis).abs()
    if edge_aware:
        steps = steps * (-edge_aware * colour.diff(dim=axis).abs().mean(-1)).exp()
    return torch.where(pairs, steps, 0.0).sum() / pairs.sum().clamp_min(1)
