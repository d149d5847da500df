"""Which parameters of a UNet train, and how the result is written."""

import logging
import re
from pathlib import Path

import torch
from torch import nn

from mnvs.config import StepsConfig
from mnvs.loading import VideoUNet
from mnvs.lora import DEAD, Lora, LoraSettings

logger = logging.getLogger(__name__)

# Besides queries and keys, the norm whose output only the query reads.
_DEAD_PARAMETERS = re.compile(rf"(?:{DEAD}|.*\.temporal_transformer_blocks\.\d+\.norm2)\..*")

ADAPTER_FOLDER, NETWORK_FOLDER = "lora", "unet"


class Trainable:
    """A UNet with its trained parameters in float32 and everything else frozen.

    Args:
        config: adapters or the whole network; gradient checkpointing.
        frozen_dtype: of the weights that do not train.
    """

    def __init__(
        self, unet: VideoUNet, config: StepsConfig, frozen_dtype: torch.dtype = torch.float32
    ) -> None:
        self.unet, self.lora = unet, None
        unet.requires_grad_(False)
        if config.parameters == "lora":
            settings = config.lora
            self.lora = Lora(
                unet,
                LoraSettings(
                    settings.mode,
                    settings.rank,
                    settings.alpha,
                    settings.dropout,
                    settings.mix_factors,
                ),
            )
            trained = self.lora.named_parameters()
        else:
            trained = {
                n: p for n, p in unet.named_parameters() if not _DEAD_PARAMETERS.fullmatch(n)
            }
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(name in trained)
            if name in trained:
                parameter.data = parameter.data.float()
            elif "mix_factor" not in name:
                parameter.data = parameter.data.to(frozen_dtype)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        unet.train()

    def parameters(self) -> dict[str, nn.Parameter]:
        """What trains, by its name in the UNet."""
        return {n: p for n, p in self.unet.named_parameters() if p.requires_grad}

    def export(self, folder: Path) -> Path:
        """Write the adapter (``lora/``) or the network (``unet/``) below ``folder``; its path."""
        if self.lora:
            path = folder / ADAPTER_FOLDER
            self.lora.save(path)
        else:
            path = folder / NETWORK_FOLDER
            self.unet.save_pretrained(path)
        return path
