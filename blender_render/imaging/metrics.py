"""Picture quality: PSNR, SSIM, and LPIPS where its network is installed."""

import functools
import importlib.util
import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

logger = logging.getLogger(__name__)

# torchvision's VGG16, which LPIPS compares pictures with.
_LPIPS_BACKBONE = "vgg16-397923af.pth"


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1]; one number for the whole tensor."""
    error = (prediction - target).square().mean()
    return -10.0 * torch.log10(error.clamp(min=1e-12))


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity of pictures [B, H, W, 3] in [0, 1]; 11 pixel Gaussian, σ = 1.5."""
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
    backbone = Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_BACKBONE
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
