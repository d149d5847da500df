"""One optimisation step of the video UNet."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.diffusion.objectives import velocity_error, velocity_weight
from mnvs.diffusion.training_noise import StepNoise, draw_noise
from mnvs.networks.denoiser import Denoiser, VideoUNet
from mnvs.training.conditioner import Batch, Clips, Conditioner, add_noise
from mnvs.training.config import StepsConfig
from mnvs.training.optimizers import make_optimizer, rate_at
from mnvs.training.sharding import is_sharded, put_together, shard
from mnvs.training.trainable import Trainable
from training_core.checkpoint import (
    Checkpoint,
    capture_optimizer,
    capture_rng,
    restore_optimizer,
    restore_rng,
)
from training_core.config import ConfigError, InputError
from training_core.devices import peak_memory_bytes
from training_core.step.ema import Ema
from training_core.step.guards import TrainingFault, check_finite
from training_core.step.pieces import gathered, in_pieces_like, whole
from training_core.step.seeds import derive_seed

# In fp16 a step is skipped when a gradient overflows, and the loss is scaled down; that the first
# few are is normal, this many in a row are not.
_MOST_SKIPPED = 30
# Loss is also reported by quarters of the noise levels: their sizes differ by a factor of ten.
_BANDS = 4


class Trainer:
    """A network, its optimizer and the videos it learns from.

    Args:
        accelerator: device, precision and processes.
        trainable: the network with the parameters that train.
        clips: gives each step its videos.
        conditioner: see there.
        seed: of noise levels, noise and dropout.
        fault_folder: where the trained weights are written should a loss stop being finite.

    Raises:
        ConfigError: the batch does not divide among parts and processes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        trainable: Trainable,
        clips: Clips,
        conditioner: Conditioner,
        schedule: NoiseSchedule,
        config: StepsConfig,
        *,
        seed: int,
        fault_folder: Path,
    ) -> None:
        self.accelerator, self.trainable, self.clips = accelerator, trainable, clips
        self.conditioner, self.schedule, self.config = conditioner, schedule, config
        self.seed, self.fault_folder = seed, fault_folder
        self.parts = parts_of_share(config, accelerator.num_processes)
        self.videos = config.batch // (self.parts * accelerator.num_processes)
        self.sharded = is_sharded(config, accelerator.num_processes)
        if self.sharded:
            shard(trainable.unet, accelerator.num_processes)
        self.parameters = trainable.parameters()
        optimizer = make_optimizer(config.optimizer, self.parameters.values())
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        # "Evaluation" leaves out DistributedDataParallel alone, whose place the shards take.
        self.denoiser = accelerator.prepare_model(
            Denoiser(trainable.unet), evaluation_mode=self.sharded
        )
        self.ema = Ema(self.parameters, config.ema) if config.ema else None
        self.skipped = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.steps

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        """Run optimizer step number ``step`` (from 0); returns scalars to log.

        Raises:
            TrainingFault: the loss or a gradient is not finite.
        """
        rate = rate_at(self.config.optimizer, step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures = []
        for part in range(self.parts):
            places = self._places(part)
            with self._passes(step, part):
                loss, figure = self.loss(step, places)
                self.accelerator.backward(loss / self.parts)
            figures.append(figure)
        norm = whole(
            self.accelerator.clip_grad_norm_(
                list(self.parameters.values()), self.config.optimizer.clip or float("inf")
            )
        )
        logged = _summary(self.accelerator.gather(torch.cat(figures)))
        self._refuse_sick(step, logged["loss/total"], norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._count_skipped(step, norm)
        if self.ema:
            self.ema.update(step)
        return logged | {"gradient_norm": norm, "rate": torch.tensor(rate)}

    def loss(self, step: int, places: list[int]) -> tuple[Tensor, Tensor]:
        """Mean weighted error of v of the videos at these places of the batch.

        Returns:
            The loss; and [B, 3]: noise level in [0, 1), plain and weighted error of each video.
        """
        device, objective = self.accelerator.device, self.config.objective
        batch = Batch.of([self.clips.sample(step, place) for place in places]).to(device)
        noise = self._draw(step, places, batch.latents.shape[1:], batch.condition.shape[1:])
        batch = batch.drop_condition(noise.dropped)
        noised = add_noise(batch, noise, self.schedule)
        conditioning = self.conditioner(batch, noise.timesteps)
        prediction = self.denoiser(noised.latents, noised.condition, noise.timesteps, conditioning)
        error = velocity_error(prediction, noised.velocity)
        snr = self.schedule.snr(noise.timesteps)
        weighted = error * velocity_weight(objective.target, snr, objective.gamma)
        level = noise.timesteps / len(self.schedule)
        return weighted.mean(), torch.stack([level, error.detach(), weighted.detach()], dim=1)

    def extra_metrics(self) -> dict[str, float]:
        """Most memory held so far."""
        return {"peak_memory_bytes": peak_memory_bytes(self.accelerator.device)}

    def put_together(self) -> VideoUNet | None:
        """The network of sharded weights, whole and on the CPU, with averaged weights where kept;
        all processes call this, and None is what all but the main one get.
        """
        with self.ema.in_use() if self.ema else contextlib.nullcontext():
            return put_together(self.trainable.unet)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to continue: tensors by name, and a JSON value."""
        optimizer_tensors, optimizer = capture_optimizer(self.optimizer.optimizer, "optimizer")
        rng_tensors, rng = capture_rng()
        scaler = self.accelerator.scaler
        averages = gathered(self.ema.averages if self.ema else {})
        tensors = {
            **{f"trained.{name}": p for name, p in gathered(self.parameters).items()},
            **{f"ema.{name}": t for name, t in averages.items()},
            **optimizer_tensors,
            **rng_tensors,
        }
        state = {
            "optimizer": optimizer,
            "rng": rng,
            "scaler": scaler.state_dict() if scaler else None,
            "skipped": self.skipped,
        }
        return tensors, state

    @torch.no_grad()
    def restore(self, saved: Checkpoint) -> None:
        """Undo ``tensors``.

        Raises:
            InputError: the checkpoint is of another network or other trained parameters.
        """
        restore_weights(self.parameters, saved, "trained")
        if self.ema:
            restore_weights(self.ema.averages, saved, "ema")
        state = saved.state
        restore_optimizer(self.optimizer.optimizer, "optimizer", saved.tensors, state["optimizer"])
        restore_rng(saved.tensors, state["rng"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.skipped = state["skipped"]

    def _places(self, part: int) -> list[int]:
        """This process's places in the batch for one part; together they are all of it."""
        process, count = self.accelerator.process_index, self.accelerator.num_processes
        first = (part * count + process) * self.videos
        return list(range(first, first + self.videos))

    def _draw(
        self, step: int, places: list[int], shape: torch.Size, condition_shape: torch.Size
    ) -> StepNoise:
        objective = self.config.objective
        drawn = draw_noise(
            self.seed, step, places, shape, condition_shape, self.schedule, objective
        )
        return drawn.to(self.accelerator.device)

    @contextlib.contextmanager
    def _passes(self, step: int, part: int) -> Iterator[None]:
        """Around a forward and a backward pass: dropout by seed and step, and gradients exchanged
        among processes with the last part only.
        """
        device = self.accelerator.device
        devices = [device] if device.type == "cuda" else []
        last = part == self.parts - 1
        waiting = contextlib.nullcontext() if last else self.accelerator.no_sync(self.denoiser)
        with torch.random.fork_rng(devices), waiting:
            torch.manual_seed(derive_seed(self.seed, step, self._places(part)[0], 1))
            yield

    def _refuse_sick(self, step: int, loss: Tensor, norm: Tensor) -> None:
        values = {"loss": loss}
        if self.accelerator.scaler is None:  # with it, overflowing gradients are expected
            values["gradient"] = norm
        check_finite(step, values, self.fault_folder, lambda: gathered(self.parameters))

    def _count_skipped(self, step: int, norm: Tensor) -> None:
        # By the norm: a fused optimizer skips inside its kernel, which accelerate does not see.
        overflowed = self.accelerator.scaler is not None and not bool(norm.isfinite())
        self.skipped = self.skipped + 1 if overflowed else 0
        if self.skipped >= _MOST_SKIPPED:
            raise TrainingFault(
                f"step {step}: gradients overflowed in {self.skipped} steps in a row; "
                "use precision=bf16 or fp32, or a smaller rate"
            )


def parts_of_share(config: StepsConfig, processes: int) -> int:
    """In how many parts each process works off its share of a batch.

    Raises:
        ConfigError: the batch does not divide.
    """
    parts = config.accumulate or max(1, config.batch // processes)
    if config.batch % (parts * processes):
        in_parts = f"{parts} parts times " if config.accumulate else ""
        fits = config.batch % processes == 0
        least = processes * (config.accumulate or 1)
        hint = "train.accumulate=0 would do" if fits else f"train.batch={least} would do"
        raise ConfigError(
            f"train.batch={config.batch} is no multiple of {in_parts}{processes} processes; {hint}"
        )
    return parts


def restore_weights(parameters: dict[str, Any], saved: Checkpoint, kind: str) -> None:
    """Copy the ``trained`` or ``ema`` weights of a checkpoint into ``parameters``.

    Raises:
        InputError: they are of other parameters.
    """
    tensors, prefix = saved.tensors.items(), f"{kind}."
    found = {n.removeprefix(prefix): t for n, t in tensors if n.startswith(prefix)}
    for name in [*parameters, *found]:
        if name not in found or name not in parameters:
            raise InputError(f"checkpoint of step {saved.step} does not fit: {prefix}{name}")
        if parameters[name].shape != found[name].shape:
            raise InputError(
                f"checkpoint of step {saved.step} does not fit: shape of {prefix}{name}"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(in_pieces_like(found[name], parameter))


def _summary(figures: Tensor) -> dict[str, Tensor]:
    """Means over all videos of a step, and over those of each quarter of the noise levels."""
    level, error, weighted = figures.unbind(1)
    summary = {"loss/total": weighted.mean(), "loss/v": error.mean()}
    band = (level * _BANDS).long()
    for number in range(_BANDS):
        inside = band == number
        if inside.any():
            name = f"loss/v_t{number * 100 // _BANDS}_{(number + 1) * 100 // _BANDS}"
            summary[name] = error[inside].mean()
    return summary
