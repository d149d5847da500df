"""Photometric loss terms, functions of two images; ``Losses`` weights and adds them.

To add one: its function, its line in ``TERMS``, and its weight by that name in ``LossConfig``.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blender_render.imaging.metrics import lpips_network, ssim
from sjc_papr.training.config import LossConfig
from training_core.config import ConfigError

LossTerm = Callable[[Tensor, Tensor], Tensor]


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of images [B, H, W, 3]."""
    return F.mse_loss(prediction, target)


def dissimilarity(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - SSIM of images [B, H, W, 3] in [0, 1]."""
    return 1.0 - ssim(prediction, target)


def _lpips_term() -> LossTerm:
    network = lpips_network()
    if network is None:
        raise ConfigError(
            "optimize.losses.lpips: the LPIPS network is not available; "
            "install the extra 'metrics' and put its weights into the torch hub cache"
        )
    return network


# What makes each term, by the name of its weight in LossConfig.
TERMS: dict[str, Callable[[], LossTerm]] = {
    "mse": lambda: mse,
    "ssim": lambda: dissimilarity,
    "lpips": _lpips_term,
}


class Losses:
    """The terms with a non-zero weight.

    Raises:
        ConfigError: LPIPS is asked for and its network is not installed.
    """

    def __init__(self, config: LossConfig) -> None:
        weights = {name: getattr(config, name) for name in TERMS}
        self.terms = {name: (weight, TERMS[name]()) for name, weight in weights.items() if weight}

    def to(self, device: str) -> "Losses":
        """Move the networks of learned terms."""
        for _, term in self.terms.values():
            if isinstance(term, nn.Module):
                term.to(device)
        return self

    def __call__(
        self, prediction: Tensor, target: Tensor
    ) -> tuple[Tensor, dict[str, tuple[float, Tensor]]]:
        """Weighted sum, and each term's weight and raw value by name."""
        values = {
            name: (weight, term(prediction, target)) for name, (weight, term) in self.terms.items()
        }
        return torch.stack([weight * value for weight, value in values.values()]).sum(), values
