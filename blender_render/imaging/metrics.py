"""Image quality: PSNR, SSIM, and LPIPS where its network is installed."""

import functools
import importlib.util
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Value = TypeVar("Value", float, float | None)

# torchvision's VGG16, which LPIPS compares images with.
LPIPS_BACKBONE = "vgg16-397923af.pth"


def psnr(
    prediction: Tensor,
    target: Tensor,
    *,
    peak: float = 1.0,
    per_image: bool = False,
    double: bool = False,
) -> Tensor:
    """Peak signal-to-noise ratio in dB of images of any layout; at most 120 for a range of 1.

    Args:
        peak: width of the range of values, such as 2 for [-1, 1].
        per_image: one number for each entry of the first axis instead of one for everything.
        double: average in float64. Averages over whole videos need it: float32 sums of so many
            numbers lose digits. Metrics of single images use float32.
    """
    difference = prediction - target
    squared = (difference.double() if double else difference).square()
    error = squared.mean(tuple(range(1, squared.ndim))) if per_image else squared.mean()
    return -10.0 * torch.log10((error / peak**2).clamp(min=1e-12))


def ssim(prediction: Tensor, target: Tensor, *, channel_axis: int = -1) -> Tensor:
    """Mean structural similarity of images in [0, 1]; 11 pixel Gaussian, σ = 1.5.

    Args:
        prediction, target: [..., H, W, C]; [..., C, H, W] with ``channel_axis=-3``.
    """
    # Its package imports transformers and matplotlib where they are installed: two CPU seconds.
    from torchmetrics.functional.image import structural_similarity_index_measure

    first, second = (
        x.movedim(channel_axis, -3).flatten(0, -4).float() for x in (prediction, target)
    )
    value = structural_similarity_index_measure(first, second, data_range=1.0)
    assert isinstance(value, Tensor)
    return value


def mean_metrics(rows: Sequence[Mapping[str, Value]], absent: Value) -> dict[str, Value]:
    """Mean of every metric over the rows that have it; the names are those of the first row.

    Args:
        absent: None or NaN: what stands for a value that a row does not have (no truth, no motion
            to compare), and for the mean of a metric that no row has.
    """
    means: dict[str, Value] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        given = [v for v in values if v is not None and not (absent is not None and math.isnan(v))]
        means[name] = float(np.mean(given)) if given else absent
    return means


class Lpips(nn.Module):
    """LPIPS (VGG) of images [B, H, W, 3] in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        first, second = (x.permute(0, 3, 1, 2) * 2.0 - 1.0 for x in (prediction, target))
        return self.network(first, second).mean()


@functools.cache
def lpips_network() -> Lpips | None:
    """The LPIPS network, or None where the package or its weights are missing.

    Never replaced by something else: a figure that is called LPIPS is LPIPS.
    """
    backbone = Path(torch.hub.get_dir()) / "checkpoints" / LPIPS_BACKBONE
    if importlib.util.find_spec("lpips") is None:
        logger.info("LPIPS is reported as null: the extra 'metrics' is not installed")
        return None
    if not backbone.is_file():
        # Otherwise it would be downloaded here, which hangs on a node without internet.
        logger.info("LPIPS is reported as null: %s is not there", backbone)
        return None
    import lpips

    # The first caller may be an evaluation; a network made there could not be trained with.
    with torch.inference_mode(False):
        return Lpips(lpips.LPIPS(net="vgg", verbose=False))
