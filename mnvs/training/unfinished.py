"""The weights of a training that is still going on, for a look at what it makes by now."""

import dataclasses
from pathlib import Path

import torch

from mnvs.networks.denoiser import VideoUNet
from mnvs.training.config import StepsConfig
from mnvs.training.trainable import Trainable
from mnvs.training.trainer import restore_weights
from training_core.config import InputError
from training_core.files.checkpoint_files import read_checkpoint


def load_weights(
    unet: VideoUNet,
    config: StepsConfig,
    checkpoint: Path,
    dtype: torch.dtype = torch.float32,
    lora_scale: float = 1.0,
) -> None:
    """Give a UNet the trained weights of a checkpoint, averaged ones where they are kept.

    Afterwards it is as if it were loaded from the result of a run that ended there: adapters are
    merged, and every weight has the number format that it had before.

    Args:
        unet: what the run started from. config: the run's.
        checkpoint: a folder of the run's ``CheckpointStore``, which is only read.
        dtype: of the UNet's weights, mix factors aside.
        lora_scale: 0 = as without the adapter, 1 = as trained; of no effect in full training.

    Raises:
        InputError: the checkpoint is gone or damaged, or is of another network.
    """
    formats = {name: parameter.dtype for name, parameter in unet.named_parameters()}
    trainable = Trainable(unet, dataclasses.replace(config, gradient_checkpointing=False), dtype)
    saved = read_checkpoint(checkpoint)
    try:
        restore_weights(trainable.parameters(), saved, "ema" if config.ema else "trained")
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    if trainable.lora:
        trainable.lora.set_scale(lora_scale)
        trainable.lora.merge_and_unload()
    for name, parameter in unet.named_parameters():
        parameter.data = parameter.data.to(formats[name])
    # As results are loaded. PyTorch chooses kernels by it, which round differently.
    unet.requires_grad_(trainable.lora is None).eval()
