"""What generating a clip would take; reads settings of the checkpoints, no weights."""

from dataclasses import dataclass
from pathlib import Path

from mnvs.generate_config import GenerateConfig, Source
from mnvs.input_pictures import Footage
from mnvs.preprocessing import Preprocessing
from mnvs.tiles import COLUMNS, ROWS
from mnvs.weights import checkpoint_folder, find_folder, read_config

_GIB = 2.0**30
# The published network: Zero123++ v1.2 with SVD's temporal layers, and its encoders.
_FULL_WIDTH = 320
_UNET_PARAMETERS, _ENCODERS_GIB = 1_524_611_562, 1.97
# Peak of activations, bf16, both branches of guidance at once, at 8 and 14 frames of 120x80
# latents; VAE decoder per tile of 960x640. Measured on the meta device.
_ACTIVATIONS_GIB, _FRAMES = (5.1, 7.6), (8, 14)
_DECODE_GIB = 0.88
_PIXELS = 120 * 80


@dataclass(frozen=True)
class Plan:
    """Sizes of a clip. ``gib`` is None for networks that are not the published ones."""

    frames: int
    view_size: int
    evaluations: int
    gib: float | None


def make_plan(config: GenerateConfig, source: Source, footage: Footage) -> Plan:
    """Look up sizes in the checkpoints.

    Raises:
        InputError: a checkpoint is not there, or has no settings.
    """
    folder = checkpoint_folder(source.pipeline or source.zero123plus)
    unet = read_config(find_folder(folder))
    if source.temporal_source:
        find_folder(source.temporal_source)
    processing = Preprocessing.read(folder / "feature_extractor_vae")
    view_size = config.clip.view_size or source.view_size or processing.output_size(320, 320)[0]
    frames = len(footage.pictures)
    if frames == 1:
        frames = config.clip.frames or source.frames
    branches = 2 if config.sampling.guidance > 1.0 else 1
    full = list(unet.get("block_out_channels", []))[:1] == [_FULL_WIDTH]
    factor = 2 ** (len(read_config(folder / "vae")["block_out_channels"]) - 1)
    pixels = ROWS * COLUMNS * (view_size // factor) ** 2
    together = branches if config.sampling.batched else 1
    return Plan(
        frames,
        view_size,
        config.sampling.steps * branches,
        memory_gib(config, frames, pixels, together) if full else None,
    )


def memory_gib(config: GenerateConfig, frames: int, pixels: int, branches: int) -> float:
    """Estimate for the published network: weights, and the larger of UNet and decoder.

    Args:
        pixels: latents of a tile. branches: of guidance in one call.
    """
    bytes_each = 4 if config.precision == "fp32" else 2
    few, many = _ACTIVATIONS_GIB
    slope = (many - few) / ((_FRAMES[1] - _FRAMES[0]) * _PIXELS)
    unet = few + slope * (frames * pixels - _FRAMES[0] * _PIXELS)
    decode = _DECODE_GIB * min(config.decode_chunk, frames) * pixels / _PIXELS
    working = max(unet * branches / 2.0, decode) * bytes_each / 2
    weights = _UNET_PARAMETERS * bytes_each / _GIB
    if config.offload == "none":
        weights += _ENCODERS_GIB * bytes_each / 2
    return working + (0.0 if config.offload == "sequential" else weights)


def describe(config: GenerateConfig, source: Source, footage: Footage, fps: float) -> str:
    """The plan as text."""
    plan = make_plan(config, source, footage)
    height, width = footage.pictures.shape[-2:]
    tile = f"{COLUMNS * plan.view_size}x{ROWS * plan.view_size}"
    memory = "small network, no estimate"
    if plan.gib is not None:
        memory = f"about {plan.gib:.1f} GiB on the GPU, CUDA's own 1 to 2 GiB apart (estimated)"
    return "\n".join(
        [
            f"input: {len(footage.pictures)} picture(s) of {width}x{height}",
            f"networks: {source.describe()}",
            f"{plan.frames} frames, tiles {tile}, {fps:g} per second",
            f"{config.sampling.steps} steps, {plan.evaluations} network evaluations",
            f"memory: {memory}",
            f"to {Path(config.output)}",
        ]
    )
