"""Picture quality: PSNR, SSIM, and LPIPS where its network is installed."""

import functools
import logging

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

logger = logging.getLogger(__name__)


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1]; one number for the whole tensor."""
    error = (prediction - target).square().mean()
    return -10.0 * torch.log10(error.clamp(min=1e-12))


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity of pictures [B, H, W, 3] in [0, 1] (11 pixel Gaussian, σ =
    1.5).
    """
    value = structural_similarity_index_measure(
        prediction.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2), data_range=1.0
    )
    assert isinstance(value, Tensor)
    return value


class Lpips(nn.Module):
    """LPIPS (VGG) of pictures [B, H, W, 3] in [0, 1]."""

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
    try:
        import lpips

        return Lpips(lpips.LPIPS(net="vgg", verbose=False))
    except (ImportError, OSError) as error:
        logger.info("LPIPS is not available (%s); it is reported as null", error)
        return None
