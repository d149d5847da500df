"""Train the small prior: one view of an object → its other views.

``python -m sjc_papr.train_prior --config configs/sjc_papr/prior.yaml
data.paths=[data/Fox,data/Robot] data.skip_frames=[0] name=NAME``
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.imaging.metrics import psnr
from sjc_papr.networks.precision import autocast
from sjc_papr.prior.config import TrainPriorConfig
from sjc_papr.prior.dataset import (
    FrameViews,
    PairSampler,
    PriorBatch,
    frame_folders,
    in_worlds,
    keep_worlds,
    read_frames,
    worlds_of_run,
)
from sjc_papr.prior.network import PriorNetwork
from sjc_papr.prior.score_model import PRIOR_FILES
from sjc_papr.score_models.base import NoiseLevels
from training_core.averaged_trainer import AveragedTrainer, count_parameters, fit
from training_core.checkpoint import seed_everything
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import pick_device, prepare_cpu
from training_core.extension import describe_extension, extended_run, log_differences
from training_core.metrics_log import MetricsLog, write_final
from training_core.step.seeds import Stream, step_generator

logger = logging.getLogger(__name__)

PHASE = "train_prior"

# Noise levels at which validation looks: much, half, little.
_VALIDATION_TIMESTEPS = (950, 600, 250)
_VALIDATION_PAIRS = 32


class PriorTrainer(AveragedTrainer):
    """The prior's network and the pairs it learns from."""

    network: PriorNetwork

    def __init__(self, config: TrainPriorConfig, frames: list[FrameViews], folder: Path) -> None:
        seed_everything(config.seed)
        network, optimize = PriorNetwork(config.network), config.optimize
        if config.start_from:
            network.load_state_dict(PRIOR_FILES.read(config.start_from).state_dict())
        super().__init__(network, optimize, optimize.ema_decay, config.device, folder)
        self.config = config
        self.sampler = PairSampler(frames, config.data, config.network, config.seed)
        self.levels = NoiseLevels.cosine()

    def losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss at random noise levels, some pairs without their condition."""
        optimize = self.config.optimize
        batch = self.sampler.sample(step, optimize.batch)
        generator = step_generator(Stream.DIFFUSION, self.config.seed, step)
        t = torch.randint(len(self.levels), (optimize.batch,), generator=generator)
        given = (torch.rand(optimize.batch, generator=generator) >= optimize.drop_condition).float()
        noise = torch.randn(batch.target.shape, generator=generator)
        return self.denoising_loss(batch, t, noise, given), {}

    def denoising_loss(self, batch: PriorBatch, t: Tensor, noise: Tensor, given: Tensor) -> Tensor:
        """Mean squared error of v; ``given`` [B] is 0 for pairs without their condition."""
        batch = PriorBatch(*(part.to(self.device) for part in batch))
        t, noise, given = t.to(self.device), noise.to(self.device), given.to(self.device)
        noisy, abar = self.levels.add_noise(batch.target, noise, t), self.levels.abar(t)
        with autocast(self.device, self.config.precision):
            v = self.network(noisy, torch.logit(abar.flatten()), *batch[1:], given)
        truth = abar.sqrt() * noise - (1.0 - abar).sqrt() * batch.target
        return F.mse_loss(v.float(), truth)


class PriorValidation:
    """How well the averaged network denoises pairs of validation views, the same every time."""

    def __init__(self, trainer: PriorTrainer, frames: list[FrameViews]) -> None:
        config = trainer.config
        sampler = PairSampler(frames, config.data, config.network, config.seed + 1)
        self.trainer, self.pairs = trainer, sampler.sample(0, _VALIDATION_PAIRS)

    @torch.no_grad()
    def __call__(self, log: MetricsLog, step: int) -> float:
        """Log PSNR of the one-step denoised images, and show them; returns that at most noise."""
        trainer, pairs = self.trainer, self.pairs
        columns, scores = [pairs.image, pairs.target], {}
        with trainer.ema.in_use():
            for t in _VALIDATION_TIMESTEPS:
                clean = self._denoised(t)
                quality = psnr(clean, pairs.target, peak=2.0, per_image=True)
                scores[f"val/psnr_t{t}"] = float(quality.mean())
                columns.append(clean)
        log.log(step, scores)
        rows = [torch.cat(list(row), dim=2) for row in zip(*(c[:8] for c in columns), strict=True)]
        image = torch.cat(rows, dim=1).permute(1, 2, 0) * 0.5 + 0.5
        log.image("val/condition_truth_denoised", image.clamp(0.0, 1.0), step)
        return scores[f"val/psnr_t{_VALIDATION_TIMESTEPS[0]}"]

    def _denoised(self, t: int) -> Tensor:
        trainer, pairs = self.trainer, self.pairs
        count = len(pairs.target)
        timesteps = torch.full((count,), t)
        noise = torch.randn(pairs.target.shape, generator=torch.Generator().manual_seed(t))
        noisy, abar = (
            trainer.levels.add_noise(pairs.target, noise, timesteps),
            trainer.levels.abar(timesteps),
        )
        inputs = [noisy, torch.logit(abar.flatten()), *pairs[1:], torch.ones(count)]
        with autocast(trainer.device, trainer.config.precision):
            v = trainer.network(*(x.to(trainer.device) for x in inputs)).float().cpu()
        return (abar.sqrt() * noisy - (1.0 - abar).sqrt() * v).clamp(-1.0, 1.0)


def read_inputs(config: TrainPriorConfig) -> tuple[list[FrameViews], list[FrameViews] | None]:
    """Training and validation images; the last are None without validation.

    Raises:
        ConfigError: something a run needs is not there. InputError: images that cannot be read.
    """
    if config.start_from and PRIOR_FILES.read(config.start_from).config != config.network:
        raise ConfigError(f"start_from: the prior in {config.start_from} has another network")
    if not config.data.paths:
        raise ConfigError("data.paths is missing: which datasets?")
    size = config.network.size
    train = read_frames(config.data, size, "train")
    return train, read_frames(config.data, size, "val") if config.log.validate_every else None


def run(config: TrainPriorConfig) -> None:
    """Train, then write the prior to the run's folder ``prior``."""
    prepare_cpu(config.threads)
    pick_device(config.device, config.deterministic)
    source = _extended(config)
    train, val = read_inputs(config)
    folder = config.open_run(PHASE)
    if source:
        log_differences(source, config)
    worlds = worlds_of_run(config.data, folder.path, source)
    keep_worlds(folder.path, worlds)
    trainer = PriorTrainer(config, in_worlds(train, worlds), folder.path)
    validate = None if val is None else PriorValidation(trainer, in_worlds(val, worlds))
    elapsed = fit(trainer, folder, config.log, f"prior {config.name}", validate, source)
    facts = {
        "frames": [str(path) for path in frame_folders(config.data)],
        "steps": trainer.steps,
        **elapsed._asdict(),
    }
    PRIOR_FILES.save(folder.path / "prior", trainer.network, trainer.ema.averages, facts)
    write_final(folder, facts | {"parameters": count_parameters(trainer.network)})
    logger.info("prior: %s", folder.path / "prior")


def _extended(config: TrainPriorConfig) -> Path | None:
    return extended_run(config, PHASE, config.optimize.steps, "optimize.steps")


def plan(config: TrainPriorConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    source = _extended(config)
    frames, _ = read_inputs(config)
    views = sum(len(frame.cameras) for frame in frames)
    parameters = count_parameters(PriorNetwork(config.network))
    run_folder = Path(config.output_root) / PHASE / config.name
    worlds = worlds_of_run(config.data, run_folder, source)
    return "\n".join(
        [
            f"{config.name}: {len(frames)} frames, {views} views at {config.network.size} px",
            f"{parameters / 1e6:.2f} M parameters, {config.optimize.steps} steps of "
            f"{config.optimize.batch} pairs on {pick_device(config.device)}",
            *(f"{name}: {world.describe()}" for name, world in worlds.items()),
            *describe_extension(source),
            config.describe_run(PHASE, "prior"),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TrainPriorConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
