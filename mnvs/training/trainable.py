"""The choice of trained parameters: adapters or the whole UNet."""

import dataclasses
import re

import torch
from torch import nn

from mnvs.lora.adapters import Lora
from mnvs.lora.modes import DEAD
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.motion_unet import MNVSMotionUNet
from mnvs.training.config import StepsConfig

# Besides queries and keys, the norm whose output only the query reads.
_DEAD_PARAMETERS = re.compile(rf"(?:{DEAD}|.*\.temporal_transformer_blocks\.\d+\.norm2)\..*")


class Trainable:
    """A UNet with its trained parameters in float32 and everything else frozen.

    Args:
        config: adapters or the whole network; gradient checkpointing.
        frozen_dtype: of the weights under adapters. In full training the frozen weights, which
            have no influence on the result, stay in float32 as the others, beside which they are
            saved.
    """

    def __init__(
        self, unet: VideoUNet, config: StepsConfig, frozen_dtype: torch.dtype = torch.float32
    ) -> None:
        self.unet, self.lora = unet, None
        mixing = not _mixing_is_saturated(unet)
        unet.requires_grad_(False)
        if config.parameters == "lora":
            mix_factors = config.lora.mix_factors and mixing
            self.lora = Lora(unet, dataclasses.replace(config.lora, mix_factors=mix_factors))
            trained = self.lora.named_parameters()
        else:
            trained = {
                name: parameter
                for name, parameter in unet.named_parameters()
                if not _DEAD_PARAMETERS.fullmatch(name)
                and (mixing or not name.endswith("mix_factor"))
            }
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(name in trained)
            if name in trained:
                parameter.data = parameter.data.float()
            elif self.lora and "mix_factor" not in name:
                parameter.data = parameter.data.to(frozen_dtype)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        unet.train()

    def parameters(self) -> dict[str, nn.Parameter]:
        """The trained parameters, by name in the UNet."""
        return {n: p for n, p in self.unet.named_parameters() if p.requires_grad}


def _mixing_is_saturated(unet: VideoUNet) -> bool:
    """Whether the mix factors have no gradient: AnimateDiff's motion modules at the start `svd`,
    which replace their input entirely.
    """
    return isinstance(unet, MNVSMotionUNet) and unet.config.temporal_start == "svd"
