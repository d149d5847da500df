"""Parameters, memory per GPU and time of a training run, estimated without any weights.

Memory of activations was measured on the full-size network, operation by operation on the meta
device; it is a constant plus so much per frame and latent pixel, within 3 % for 8, 14 and 25 frames
and for half-size latents. Operations are counted here for the very configuration. Speeds are
assumptions.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mnvs.checkpoints import limits
from mnvs.checkpoints.unet_loading import new_unet, saved_unet_on_meta
from mnvs.checkpoints.weights import checkpoint_folder, find_folder, read_config
from mnvs.data.dataset import DataConfig
from mnvs.networks.activation_memory import activations_gib
from mnvs.networks.conditioning import Conditioning
from mnvs.networks.denoiser import Denoiser, VideoUNet
from mnvs.training.config import ModelConfig, StepsConfig, ValidationConfig
from mnvs.training.sharding import is_sharded, largest_layer
from mnvs.training.trainable import Trainable
from mnvs.training.trainer import parts_of_share
from training_core.config import InputError
from training_core.files.weight_file import is_hub_name

_GIB = 2.0**30
_TOKENS, _LEVELS = 77, 1000
# Zero123++ v1.2's UNet, as far as it differs from diffusers' defaults.
_PUBLISHED = {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
# Parameters from which the figures measured at full size apply.
_LARGE = 1e9


@dataclass(frozen=True)
class Gpu:
    """A kind of device: memory in GiB, and TFLOP/s assumed to be reached in training."""

    name: str
    gib: float
    tflops: float
    bf16: bool = True


GPUS = (
    Gpu("V100 32 GB (fp16)", 32, 30, bf16=False),
    Gpu("A100 40 GB", 40, 100),
    Gpu("L40S 48 GB", 48, 100),
    Gpu("A100 80 GB", 80, 100),
    Gpu("H100 80 GB", 80, 300),
    Gpu("H200 141 GB", 141, 300),
)
# Speed of one thread of a server CPU on the tiny network, measured.
CPU_TFLOPS = 0.06

# Activations in GiB at 8 and at 14 frames of 120x80 latents, one video, adapters in float32.
_ACTIVATIONS = {True: (8.3, 13.2), False: (45.8, 77.8)}
# VAE, text states and vision encoder in half precision; CUDA context and workspaces.
_ENCODERS_GIB, _CUDA_GIB = 1.97, 1.5
# A training step in forward passes: with adapters nothing is computed for frozen weights.
_PASSES = {"lora": 2.2, "full": 3.0}
_RECOMPUTED = 0.83


@dataclass(frozen=True)
class Estimate:
    """Sizes of a run; memory in GiB on each GPU, ``operations`` per optimizer step in TFLOP.

    ``source`` is the origin of the sizes, ``videos`` the number of videos in memory at once,
    ``spread`` that of the processes over which trained weights are spread.
    """

    source: str
    videos: int
    spread: int
    parameters: int
    trained: int
    modules: int
    mix_factors: int
    latent: tuple[int, int]
    weights_gib: float
    encoders_gib: float
    training_gib: float
    activations_gib: float
    operations: float

    @property
    def total_gib(self) -> float:
        """All of it, CUDA included."""
        parts = (self.weights_gib, self.encoders_gib, self.training_gib, self.activations_gib)
        return sum(parts) + _CUDA_GIB


def meta_unet(model: ModelConfig) -> tuple[VideoUNet, str]:
    """The network without its weights, and the origin of its sizes.

    Names on the hub whose files are not on this machine stand for the published sizes.

    Raises:
        InputError: a folder that is not there, or no checkpoint of this kind.
    """
    if model.pipeline:
        return saved_unet_on_meta(model.pipeline), model.pipeline
    spatial, source = _config_of(model.zero123plus, "Zero123++")
    temporal, other = _config_of(model.temporal_source, model.temporal)
    spatial = _PUBLISHED if spatial is None else spatial
    with torch.device("meta"):
        unet = new_unet(spatial, temporal, model.temporal, model.temporal_start)
    return unet, f"{source} + {other}"


def estimate(
    model: ModelConfig,
    data: DataConfig,
    train: StepsConfig,
    *,
    precision: str = "auto",
    processes: int = 1,
) -> Estimate:
    """Count and estimate for one GPU of ``processes``; ``precision`` as in ``TrainConfig``.

    Raises:
        ConfigError: the batch does not divide among them. InputError: see ``meta_unet``.
    """
    unet, source = meta_unet(model)
    parameters = sum(p.numel() for p in unet.parameters())
    factor, frames = vae_factor(model), data.frames
    height, width = (data.view_size * n // factor for n in (3, 2))
    operations = forward_operations(unet, data, factor) / 1e12
    trainable = Trainable(unet, train)
    names = trainable.parameters()
    trained = sum(p.numel() for p in names.values())
    videos = train.batch // (parts_of_share(train, processes) * processes)
    per_weight = 4 if precision == "fp32" else 2
    full = train.parameters == "full"
    # Weight, gradient and Adam's two moments in float32; in 8 bit the moments take a byte each.
    moments = 2 if train.optimizer.kind == "adamw8bit" else 8
    training = float(trained * (8 + moments + (4 if train.ema else 0)))
    if is_sharded(train, processes):  # and two layers whole, one with its gradient
        training = training / processes + 12 * largest_layer(unet)
    activations = activations_gib(
        _ACTIVATIONS[train.gradient_checkpointing], videos * frames * height * width
    )
    passes = _PASSES[train.parameters] + (_RECOMPUTED if train.gradient_checkpointing else 0.0)
    return Estimate(
        source=source,
        videos=videos,
        spread=processes if is_sharded(train, processes) else 1,
        parameters=parameters,
        trained=trained,
        modules=len(trainable.lora.modules) if trainable.lora else 0,
        mix_factors=sum(name.endswith("mix_factor") for name in names),
        latent=(height, width),
        # Full training keeps float32 weights (counted below) and autocast's copies of them.
        weights_gib=(0 if full and per_weight == 4 else parameters * per_weight) / _GIB,
        # In full training they are read in float32, as they are saved again.
        encoders_gib=_ENCODERS_GIB * (2.0 if full or per_weight == 4 else 1.0),
        training_gib=training / _GIB,
        activations_gib=activations * (2.0 if per_weight == 4 else 1.0),
        operations=operations * passes * train.batch / processes,
    )


def vae_factor(model: ModelConfig) -> int:
    """Pixels per latent in each direction; 8 where the checkpoint is not on this machine."""
    try:
        return limits.vae_factor(checkpoint_folder(model.pipeline or model.zero123plus))
    except InputError:
        return 8


def noise_levels(model: ModelConfig) -> int:
    """Training steps of the schedule; Zero123++'s where the checkpoint is not on this machine."""
    try:
        return limits.noise_levels(checkpoint_folder(model.pipeline or model.zero123plus))
    except InputError:
        return _LEVELS


def refuse_impossible(model: ModelConfig, data: DataConfig, validation: ValidationConfig) -> None:
    """Refuse clips that the networks cannot train on or generate, by checkpoints' settings alone.

    Raises:
        ConfigError: naming the option. InputError: see ``meta_unet``.
    """
    limits.refuse_impossible_clip(
        meta_unet(model)[0],
        vae_factor(model),
        noise_levels(model),
        view_size=("data.view_size", data.view_size),
        frames=("data.frames", data.frames),
        steps=("validation.steps", validation.steps if validation.every else 0),
    )


def forward_operations(unet: VideoUNet, data: DataConfig, vae_factor: int) -> float:
    """Floating-point operations of a write and a read pass over one video, counted.

    Args:
        vae_factor: pixels per latent in each direction.
    """
    settings: Any = unet.config
    width = settings.cross_attention_dim
    width = width if isinstance(width, int) else width[0]
    side = data.condition_size // vae_factor
    latent = tuple(data.view_size * n // vae_factor for n in (3, 2))
    images = data.frames if data.condition == "video" else 1
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        conditioning = Conditioning(
            torch.zeros(1, _TOKENS, width),
            torch.zeros(1, 1, width),
            torch.zeros(1),
            torch.zeros(1, 3),
        )
        Denoiser(unet)(
            torch.zeros(1, data.frames, 4, *latent),
            torch.zeros(1, images, 4, side, side),
            torch.zeros(1, dtype=torch.long),
            conditioning,
        )
    return float(counter.get_total_flops())


def describe(data: DataConfig, train: StepsConfig, e: Estimate) -> str:
    """The estimate as text: trained parameters, memory, and time on each device."""
    what = (
        f"LoRA {train.lora.mode}, rank {train.lora.rank}: {e.modules} modules"
        if train.parameters == "lora"
        else "all live parameters"
    )
    height, width = (data.view_size * n for n in (3, 2))
    lines = [
        f"network: {e.source}, {e.parameters / 1e6:,.1f} million parameters",
        f"trained: {e.trained / 1e6:,.2f} million ({what}, {e.mix_factors} mix factors)",
        f"clips: {data.frames} frames of {width}x{height}, latents {e.latent[1]}x{e.latent[0]}, "
        f"condition: {data.condition}",
        f"{train.steps} steps of {train.batch} video(s), objective {train.objective.target}, "
        f"{train.optimizer.kind} at {train.optimizer.rate:g}, "
        f"{e.operations:,.2f} TFLOP per step and device",
    ]
    if e.parameters < _LARGE:
        seconds = e.operations / CPU_TFLOPS
        return "\n".join([*lines, f"one CPU thread: {_time(seconds, train.steps)}"])
    if train.shard and e.spread == 1:
        lines.append("train.shard: one process has all; WORLD_SIZE=4 in front plans for four")
    among = f", spread over {e.spread}" if e.spread > 1 else ""
    lines += [
        f"memory per GPU at {e.videos} video(s) at once{among}: weights {e.weights_gib:.1f} "
        f"+ training {e.training_gib:.1f} + activations {e.activations_gib:.1f} "
        f"+ encoders {e.encoders_gib:.1f} + CUDA {_CUDA_GIB:.1f} = {e.total_gib:.1f} GiB",
        "device               fits  at an assumed  time",
    ]
    for gpu in GPUS:
        possible = gpu.bf16 or not train.shard
        fits = "yes" if possible and e.total_gib < 0.95 * gpu.gib else "no"
        time = _time(e.operations / gpu.tflops, train.steps)
        lines.append(f"{gpu.name:<20} {fits:<4}  {gpu.tflops:>4.0f} TFLOP/s   {time}")
    return "\n".join(lines)


def _config_of(source: str, published: str) -> tuple[dict[str, Any] | None, str]:
    if not source:
        return None, f"{published} (published sizes)"
    try:
        folder = find_folder(source)
    except InputError:
        if not is_hub_name(source):
            raise
        return None, f"{published} (published sizes; {source} is not on this machine)"
    return read_config(folder), source


def _time(seconds: float, steps: int) -> str:
    hours = seconds * steps / 3600.0
    shown = f"{hours:.1f} h" if hours < 48 else f"{math.ceil(hours / 24)} days"
    return f"{seconds:.2f} s/step, {shown} in all"
