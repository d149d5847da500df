"""What the networks of a checkpoint can make, known from their settings alone."""

from pathlib import Path

from mnvs.checkpoints.schedulers import load_scheduler
from mnvs.checkpoints.weights import read_config
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.motion_unet import MNVSMotionUNet
from training_core.config import ConfigError, InputError

# An option's key and its value.
Option = tuple[str, int]


def vae_factor(checkpoint: Path) -> int:
    """Pixels per latent in each direction.

    Raises:
        InputError: the settings of the VAE are not there, or do not say.
    """
    levels = read_config(checkpoint / "vae").get("block_out_channels")
    if not isinstance(levels, list) or not levels:
        raise InputError(f"{checkpoint / 'vae' / 'config.json'}: 'block_out_channels' is missing")
    return int(2 ** (len(levels) - 1))


def noise_levels(checkpoint: Path) -> int:
    """Training steps of the schedule. Raises InputError: it is not there."""
    return len(load_scheduler(checkpoint / "scheduler").alphas_cumprod)


def refuse_impossible_clip(
    unet: VideoUNet, factor: int, levels: int, *, view_size: Option, frames: Option, steps: Option
) -> None:
    """Refuse what the networks cannot generate.

    Args:
        factor: of the VAE. levels: of noise. steps: of the sampler.

    Raises:
        ConfigError: naming the option.
    """
    key, size = view_size
    if size < factor or size % factor:
        raise ConfigError(f"{key}={size} is no multiple of the VAE's {factor}")
    key, count = frames
    if isinstance(unet, MNVSMotionUNet) and count > unet.config.motion_max_seq_length:
        most = unet.config.motion_max_seq_length
        raise ConfigError(f"{key}={count}: the motion modules take {most}")
    key, count = steps
    if count > levels:
        raise ConfigError(f"{key}={count}: there are {levels} levels")
