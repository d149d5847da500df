"""What a step of Zero123 costs at its real size, with random weights (nothing is downloaded).

    python scripts/bench_zero123.py device=cuda guidance=3 output=bench/zero123.json
    python scripts/bench_zero123.py device=cpu repeats=1 threads=2

times what Score Jacobian Chaining asks of the score model a step: a render is brought to 256
pixels and encoded, the UNet predicts its noise, the gradient goes back to the render. PAPR's own
part is timed by ``scripts/bench_papr.py``.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at, spherical
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.loading import random_networks
from sjc_papr.score_models.zero123.score_model import Zero123
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import THREADS, option, section
from training_core.devices import peak_memory_bytes, pick_device, prepare_cpu
from training_core.files import atomic
from training_core.run_folder import describe_environment


@dataclass
class BenchConfig:
    render: int = option(64, "side of the render, pixels")
    guidance: float = option(3.0, "classifier-free guidance; 1 halves the UNet's work")
    repeats: int = option(10, "timed steps; the median counts")
    warmup: int = option(3, "steps before them")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch", bounds=THREADS)
    output: str = option("", "JSON file for the figures; empty = print only")
    zero123: Zero123Config = section(Zero123Config, "how it is used; the path is not read")

    def validate(self) -> None:
        """Raises ValueError on counts below one."""
        at_least(1, render=self.render, repeats=self.repeats)
        at_least(0, warmup=self.warmup, threads=self.threads)


class Step:
    """One step, in the parts that are timed."""

    def __init__(self, score: Zero123, config: BenchConfig) -> None:
        self.score, self.guidance = score, config.guidance
        cameras = (look_at(spherical(azimuth, 20.0, 2.0)) for azimuth in (0.0, 60.0))
        seen, self.at = (
            Camera.from_angle_x(pose, config.render, config.render, 0.7) for pose in cameras
        )
        self.condition = score.condition(torch.rand(3, config.render, config.render), seen)
        self.render = torch.rand(3, config.render, config.render, device=score.device)
        self.latent = self.gradient = torch.empty(0)

    def encode(self) -> None:
        picture, self.target = self.score.view(self.render.requires_grad_(), self.at)
        self.latent = self.score.encode(picture[None])

    def predict(self) -> None:
        t = torch.tensor([400])
        noise = torch.randn_like(self.latent)
        noisy = self.score.levels.add_noise(self.latent.detach(), noise, t.to(noise.device))
        self.gradient = noise - self.score.predict_noise(
            noisy, t, self.condition, [self.target], self.guidance
        )

    def backward(self) -> Tensor:
        (gradient,) = torch.autograd.grad(self.latent, self.render, -self.gradient)
        return gradient


def run(config: BenchConfig) -> None:
    """Time the steps, print and write the figures."""
    device = pick_device(config.device)
    prepare_cpu(config.threads)
    networks = random_networks(config.zero123, device)
    step = Step(Zero123(networks, config.zero123, 1.0), config)
    parts: dict[str, Callable[[], Any]] = {
        "encode": step.encode,
        "predict_noise": step.predict,
        "backward": step.backward,
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for index in range(config.warmup + config.repeats):
        for name, part in parts.items():
            seconds = timed(part, device)
            if index >= config.warmup:
                times[name].append(seconds)
    median = {f"{name}_s": sorted(values)[len(values) // 2] for name, values in times.items()}
    figures = {
        "step_s": sum(median.values()),
        **median,
        "peak_bytes": peak_memory_bytes(device),
        "weights_bytes": sum(
            p.numel() * p.element_size() for part in networks.parts() for p in part.parameters()
        ),
    }
    text = json.dumps({"environment": describe_environment(), **figures}, indent=1, default=str)
    if config.output:
        atomic.write_text(Path(config.output), text + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds on the clock, all of the device's work included."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def plan(config: BenchConfig) -> str:
    side = config.render
    return f"{config.warmup} + {config.repeats} steps of a {side}x{side} render on {config.device}"


if __name__ == "__main__":
    raise SystemExit(run_command(BenchConfig, run=run, plan=plan, description=__doc__ or ""))
