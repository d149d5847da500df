"""Time and memory of the video UNet with random weights: training steps and generation.

    python scripts/bench_mnvs.py                      # full size, on a GPU
    python scripts/bench_mnvs.py size=tiny device=cpu # the same on any machine

Prints a table, and writes it with the machine's description to ``output``: a training step of the
fused network, of diffusers' SVD network of the same size (its own gradient checkpointing), what
``--dry-run`` would have said, and generation with decoding.
"""

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mnvs  # noqa: F401 (first, because it says in one line which packages are missing)

# isort: split
import torch
from accelerate import Accelerator
from diffusers import EulerAncestralDiscreteScheduler, UNetSpatioTemporalConditionModel
from diffusers.loaders import PeftAdapterMixin
from torch import Tensor

from mnvs.checkpoints.tiny_checkpoint import SCHEDULER, TOKENS, new_vae
from mnvs.data.dataset import DataConfig
from mnvs.data.latent_cache import EncodedClip
from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.encoders.vae_scaling import decode_target
from mnvs.inference.sampler import SamplerConditions, Sampling, sample_latents
from mnvs.lora.modes import MODES
from mnvs.lora.settings import LoraSettings
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.unet import MNVSUNet
from mnvs.training.conditioner import Conditioner
from mnvs.training.config import ModelConfig, StepsConfig
from mnvs.training.devices import frozen_dtype, make_accelerator
from mnvs.training.resources import estimate
from mnvs.training.trainable import Trainable
from mnvs.training.trainer import Trainer
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import option
from training_core.devices import peak_memory_bytes
from training_core.files import atomic
from training_core.run_folder import describe_environment


@dataclass(frozen=True)
class Size:
    """A network and its pictures: UNet settings, channels of the VAE, latents of one view."""

    unet: dict[str, Any]
    width: int
    vae: tuple[int, ...]
    latent: int


_TINY = {
    "block_out_channels": (64, 128, 128),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * 2 + ("DownBlockSpatioTemporal",),
    "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 2,
    "num_attention_heads": (2, 4, 4),
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
}
SIZES = {
    "full": Size({}, 1024, (128, 256, 512, 512), 40),
    "tiny": Size(_TINY, 64, (16, 32, 64, 64), 8),
}


@dataclass
class BenchConfig:
    """What is measured."""

    size: str = option("full", "full = the published sizes, tiny = the CPU size", tuple(SIZES))
    frames: list[int] = option([8, 14], "frames of a clip, one row of the table each")
    parameters: str = option("lora", "what trains", choices=("lora", "full"))
    mode: str = option("temporal", "LoRA mode", choices=tuple(MODES))
    rank: int = option(64, "of the adapters")
    checkpointing: bool = option(True, "gradient checkpointing")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    precision: str = option("auto", "see mnvs.train", choices=("auto", "fp32", "bf16", "fp16"))
    warmup: int = option(2, "steps before the clock starts")
    steps: int = option(5, "steps that are timed")
    compare: bool = option(True, "measure diffusers' SVD network as well")
    generate: int = option(28, "denoising steps of a generation; 0 = none")
    guidance: float = option(4.0, "scale of classifier-free guidance in it")
    output: str = option("bench_mnvs.json", "file to write")

    def validate(self) -> None:
        """Raises ValueError on counts below one."""
        at_least(1, rank=self.rank, steps=self.steps, frames=min(self.frames, default=0))
        at_least(0, warmup=self.warmup, generate=self.generate)


class RandomClips:
    """Encoded clips of one size, the dataset's interface."""

    def __init__(self, size: Size, frames: int) -> None:
        self.size, self.frames = size, frames

    def sample(self, step: int, index: int) -> EncodedClip:
        n, width = self.size.latent, self.size.width
        generator = torch.Generator().manual_seed(step)
        return EncodedClip(
            torch.randn(self.frames, 4, 3 * n, 2 * n, generator=generator),
            torch.randn(1, 4, n, n, generator=generator),
            torch.randn(1, 1, width, generator=generator),
            torch.zeros(4, n, n),
            7.0,
            "random",
            tuple(range(self.frames)),
        )


class PlainSVD(PeftAdapterMixin, UNetSpatioTemporalConditionModel):
    """diffusers' network as it is; the mixin lets it take adapters."""


def make_unet(config: BenchConfig, kind: type, dtype: torch.dtype, device: torch.device) -> Any:
    settings = SIZES[config.size].unet
    more = {"temporal_start": "svd"} if kind is MNVSUNet else {"in_channels": 8}
    if kind is PlainSVD and config.size == "full":
        more["num_attention_heads"] = (5, 10, 20, 20)
    with torch.device(device):
        return kind(**(settings | more)).to(device, dtype)


def steps_config(config: BenchConfig, mix_factors: bool = True) -> StepsConfig:
    lora = LoraSettings(config.mode, config.rank, float(config.rank), mix_factors=mix_factors)
    steps = config.warmup + config.steps
    return StepsConfig(
        parameters=config.parameters,
        lora=lora,
        steps=steps,
        gradient_checkpointing=config.checkpointing,
    )


def measure(device: torch.device, config: BenchConfig, step: Callable[[int], Any]) -> dict:
    """Seconds of a step and the peak of memory over all."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for number in range(config.warmup):
        step(number)
    _wait(device)
    begin = time.perf_counter()
    for number in range(config.warmup, config.warmup + config.steps):
        step(number)
    _wait(device)
    seconds = (time.perf_counter() - begin) / config.steps
    return {"seconds": seconds, "peak_gib": peak_memory_bytes(device) / 2**30}


def fused_step(config: BenchConfig, accelerator: Accelerator, frames: int) -> dict:
    """A whole training step of ours: draws, both passes, backward, clipping, AdamW."""
    size, steps, dtype = SIZES[config.size], steps_config(config), frozen_dtype(accelerator)
    unet = make_unet(config, MNVSUNet, dtype, accelerator.device)
    schedule = NoiseSchedule.from_scheduler(EulerAncestralDiscreteScheduler(**SCHEDULER))
    trainer = Trainer(
        accelerator,
        Trainable(unet, steps, dtype),
        RandomClips(size, frames),
        Conditioner(lambda token: token.expand(-1, -1, TOKENS, -1), schedule, ModelConfig()),
        schedule,
        steps,
        seed=0,
        fault_folder=Path("."),
    )
    return measure(accelerator.device, config, trainer.step)


def plain_step(config: BenchConfig, accelerator: Accelerator, frames: int) -> dict:
    """The same with diffusers' network, no reference attention, its own checkpointing."""
    size, dtype = SIZES[config.size], frozen_dtype(accelerator)
    unet = make_unet(config, PlainSVD, dtype, accelerator.device)
    # Without its 38 mix factors: peft before 0.20 cannot wrap them as diffusers calls them.
    trainable = Trainable(unet, steps_config(config, mix_factors=False), dtype)
    parameters = list(trainable.parameters().values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
    n, device = size.latent, accelerator.device

    def step(number: int) -> None:
        sample = torch.randn(1, frames, 8, 3 * n, 2 * n, device=device)
        token = torch.randn(1, 1, size.width, device=device)
        ids = torch.tensor([[6.0, 127.0, 0.02]], device=device)
        with accelerator.autocast():
            prediction = unet(sample, torch.zeros(1, device=device), token, ids).sample
        accelerator.backward(prediction.float().square().mean())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return measure(device, config, step)


@torch.no_grad()
def generation(config: BenchConfig, accelerator: Accelerator, frames: int) -> dict:
    """From noise to tiles: sampling with guidance, then decoding one tile at a time."""
    size, device = SIZES[config.size], accelerator.device
    dtype = frozen_dtype(accelerator)
    unet: VideoUNet = make_unet(config, MNVSUNet, dtype, device).eval()
    vae = new_vae(size.vae, size.latent * 8, layers=2).to(device, dtype).eval()
    n, width = size.latent, size.width

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device=device)

    conditions = SamplerConditions(
        condition=draw(1, 1, 4, n, n),
        no_condition=draw(4, n, n),
        prompt=draw(1, 1, TOKENS, width),
        no_prompt=draw(TOKENS, width),
        image_token=draw(1, 1, 1, width),
        added_time_ids=torch.tensor([[6.0, 127.0, 0.02]], device=device),
    )

    def generate(_: int) -> None:
        sampling = Sampling(config.generate, config.guidance)
        scheduler = EulerAncestralDiscreteScheduler(**SCHEDULER)
        shape, generator = (frames, 4, 3 * n, 2 * n), torch.Generator().manual_seed(0)
        latents = sample_latents(unet, scheduler, conditions, shape, sampling, generator)
        decode_target(vae, latents.to(dtype), chunk=1)

    return measure(device, replace(config, warmup=0, steps=1), generate)


def expected(config: BenchConfig, _: Accelerator, frames: int) -> dict:
    """What ``--dry-run`` says about memory: full size only, on a CPU it has no say."""
    data, steps = DataConfig(frames=frames), steps_config(config)
    # The benchmark encodes nothing, and memory is counted without the driver's own.
    parts = estimate(ModelConfig(), data, steps, precision=config.precision)
    return {"peak_gib": parts.weights_gib + parts.training_gib + parts.activations_gib}


def run(config: BenchConfig) -> None:
    """Measure row by row; what was measured is written even if a later row fails."""
    accelerator = make_accelerator(config.device, config.precision)
    rows: list[dict[str, Any]] = []
    tasks: dict[str, Callable[..., dict]] = {"training step, fused": fused_step}
    if config.compare:
        tasks["training step, diffusers' SVD"] = plain_step
    if config.generate:
        tasks[f"generation, {config.generate} steps"] = generation
    if config.size == "full":
        tasks["training step, planned"] = expected
    for frames in config.frames:
        for name, task in tasks.items():
            try:
                row = task(config, accelerator, frames)
            except torch.OutOfMemoryError:
                row = {"error": "out of memory"}
            rows.append({"what": name, "frames": frames, **row})
            print(_line(rows[-1]), flush=True)
            gc.collect()
            torch.cuda.empty_cache()
        content = {"config": vars(config), "environment": describe_environment(), "rows": rows}
        atomic.write_json(Path(config.output), content)


def plan(config: BenchConfig) -> str:
    return (
        f"{config.size} size, frames {config.frames}: {config.warmup} + {config.steps} training "
        f"steps and {config.generate} denoising steps each; to {config.output}"
    )


def _line(row: dict[str, Any]) -> str:
    seconds = f"{row['seconds']:8.2f} s" if "seconds" in row else " " * 10
    memory = f"{row['peak_gib']:7.1f} GiB" if "peak_gib" in row else row["error"]
    return f"{row['what']:<32} T={row['frames']:<3} {seconds} {memory}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(run_command(BenchConfig, run=run, plan=plan, description=__doc__ or ""))
