"""Sizes and memory of a generation, and whether it is possible, from settings alone."""

from dataclasses import dataclass
from pathlib import Path

from mnvs.checkpoints.limits import noise_levels, refuse_impossible_clip, vae_factor
from mnvs.checkpoints.unet_loading import saved_unet_on_meta, unet_of_sources
from mnvs.checkpoints.weights import checkpoint_folder
from mnvs.data.tiles import COLUMNS, ROWS
from mnvs.encoders.preprocessing import Preprocessing
from mnvs.footage.input_reader import Footage
from mnvs.inference.config import GenerateConfig, ModelSource
from mnvs.lora.adapters import WEIGHTS_FILE
from mnvs.networks.activation_memory import TILE_LATENTS, activations_gib
from mnvs.networks.denoiser import VideoUNet
from training_core.config import InputError

_GIB = 2.0**30
# The published encoders of Zero123++ v1.2, and the first width of its UNet.
_ENCODERS_GIB, _FULL_WIDTH = 1.97, 320
# Peak of activations, bf16, both branches of guidance at once, at 8 and 14 frames of 120x80
# latents; VAE decoder per tile of 960x640. Measured on the meta device.
_ACTIVATIONS_GIB = (5.1, 7.6)
_DECODE_GIB = 0.88


@dataclass(frozen=True)
class Plan:
    """Sizes of a clip. ``gib`` is None for networks that are not the published ones."""

    frames: int
    view_size: int
    evaluations: int
    gib: float | None


def make_plan(config: GenerateConfig, source: ModelSource, footage: Footage) -> Plan:
    """Sizes of the clip, from options and checkpoints.

    Raises:
        InputError: a checkpoint is missing, has no settings, or its parts do not fit together.
        ConfigError: the networks cannot make such a clip.
    """
    folder = checkpoint_folder(source.pipeline or source.zero123plus)
    unet = _network(source)
    if source.lora and not (Path(source.lora) / WEIGHTS_FILE).is_file():
        raise InputError(f"{Path(source.lora) / WEIGHTS_FILE}: file is missing")
    processing = Preprocessing.read(folder / "feature_extractor_vae")
    view_size = config.clip.view_size or source.view_size or processing.output_size(320, 320)[0]
    frames = len(footage.images)
    if frames == 1:
        frames = config.clip.frames or source.frames
    branches = 2 if config.sampling.guidance > 1.0 else 1
    factor = vae_factor(folder)
    refuse_impossible_clip(
        unet,
        factor,
        noise_levels(folder),
        view_size=("clip.view_size", view_size),
        frames=("clip.frames", frames),
        steps=("sampling.steps", config.sampling.steps),
    )
    pixels = ROWS * COLUMNS * (view_size // factor) ** 2
    together = branches if config.sampling.batched else 1
    gib = None
    if unet.config.block_out_channels[0] == _FULL_WIDTH:
        parameters = sum(parameter.numel() for parameter in unet.parameters())
        gib = memory_gib(config, parameters, frames, pixels, together)
    return Plan(frames, view_size, config.sampling.steps * branches, gib)


def _network(source: ModelSource) -> VideoUNet:
    if source.pipeline:
        return saved_unet_on_meta(source.pipeline)
    temporal = source.temporal_source or None
    return unet_of_sources(source.zero123plus, temporal, source.temporal, source.temporal_start)


def memory_gib(
    config: GenerateConfig, parameters: int, frames: int, pixels: int, branches: int
) -> float:
    """Estimate for networks of the published sizes: weights, and the larger of UNet and decoder.

    Args:
        parameters: of the UNet. pixels: latents of a tile. branches: of guidance in one call.
    """
    bytes_each = 4 if config.precision == "fp32" else 2
    unet = activations_gib(_ACTIVATIONS_GIB, frames * pixels)
    decode = _DECODE_GIB * min(config.decode_chunk, frames) * pixels / TILE_LATENTS
    working = max(unet * branches / 2.0, decode) * bytes_each / 2
    weights = parameters * bytes_each / _GIB
    if config.offload == "none":
        weights += _ENCODERS_GIB * bytes_each / 2
    return working + (0.0 if config.offload == "sequential" else weights)


def describe_networks(
    config: GenerateConfig, source: ModelSource, footage: Footage, fps: float
) -> str:
    """The plan of a generation by networks, as text. Raises as ``make_plan`` does."""
    plan = make_plan(config, source, footage)
    height, width = footage.images.shape[-2:]
    tile = f"{COLUMNS * plan.view_size}x{ROWS * plan.view_size}"
    memory = "small network, no estimate"
    if plan.gib is not None:
        memory = f"about {plan.gib:.1f} GiB on the GPU, CUDA's own 1 to 2 GiB apart (estimated)"
    return "\n".join(
        [
            f"input: {len(footage.images)} image(s) of {width}x{height}",
            f"networks: {source.describe()}",
            f"{plan.frames} frames, tiles {tile}, {fps:g} per second",
            f"{config.sampling.steps} steps, {plan.evaluations} network evaluations",
            f"memory: {memory}",
            f"to {Path(config.output)}",
        ]
    )
