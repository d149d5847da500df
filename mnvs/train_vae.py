"""Fit the tiny VAE on rendered pictures, so that tiny's latents mean something.

``python -m mnvs.train_vae --config configs/mnvs/tiny_vae.yaml data.paths=[data/fox,data/robot]``

The result, ``runs/mnvs/NAME/vae``, is an AutoencoderKL of diffusers; ``python -m mnvs.tiny vae=…``
puts it into a checkpoint.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from blender_render.dataset.paths import dataset_paths
from mnvs.checkpoints.tiny_checkpoint import new_vae
from mnvs.data.vae_dataset import CropSampler, ImageSource, read_source
from mnvs.training.vae_trainer import (
    VaeTrainer,
    VaeValidation,
    latent_moments,
    mean_psnr,
    reconstruction_psnr,
    standardise,
)
from training_core.checkpoint import seed_everything
from training_core.checks import at_least, positive
from training_core.cli import run_command
from training_core.config import SEEDS, ConfigError, option, section
from training_core.devices import pick_device, prepare_cpu
from training_core.extension import describe_extension, extended_run, log_differences
from training_core.loop import TrainingLoop, Validation
from training_core.metrics_log import write_final
from training_core.run_config import CommandConfig, ValidatedLogConfig
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)

PHASE = "mnvs"


@dataclasses.dataclass
class VaeDataConfig:
    paths: list[str] = option(
        [],
        "six-view or multi-view datasets: folders, .zip, folders of such, glob patterns, @FILE",
    )
    view_size: int = option(64, "side of one view in pixels")

    def validate(self) -> None:
        """Raises ValueError on views too small to have latents."""
        at_least(16, view_size=self.view_size)


@dataclasses.dataclass
class VaeConfig:
    channels: list[int] = option(
        [16, 32, 64, 64], "of the levels; each but the last halves the size: 4 levels = factor 8"
    )
    layers: int = option(1, "residual blocks per level")
    lambda_kl: float = option(1e-6, "weight of the KL divergence per latent number")

    def validate(self) -> None:
        """Raises ValueError on sizes that cannot be built."""
        at_least(1, layers=self.layers, levels=len(self.channels))
        at_least(0, lambda_kl=self.lambda_kl)
        if any(count < 4 or count % 4 for count in self.channels):
            raise ValueError(f"channels must be multiples of 4, are {self.channels}")

    @property
    def factor(self) -> int:
        """Pixels per latent in each direction."""
        return 2 ** (len(self.channels) - 1)


@dataclasses.dataclass
class VaeOptimizeConfig:
    steps: int = option(4000, "optimizer steps")
    batch: int = option(4, "crops per step")
    crop: int = option(64, "side of a crop in pixels")
    recolour: bool = option(False, "colour channels in random order: more colours, coarser fit")
    rate: float = option(2e-3, "largest learning rate of Adam; one cosine to zero")
    warmup: int = option(50, "steps over which it rises")

    def validate(self) -> None:
        """Raises ValueError on counts below one."""
        at_least(1, steps=self.steps, batch=self.batch, crop=self.crop)
        at_least(0, warmup=self.warmup)
        positive(rate=self.rate)


@dataclasses.dataclass
class VaeLogConfig(ValidatedLogConfig):
    every: int = option(50, "steps between log lines")
    checkpoint_every: int = option(250, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints kept")
    validate_every: int = option(250, "steps between validations; 0 = only at the end")


@dataclasses.dataclass
class TrainVaeConfig(CommandConfig):
    """A run of ``mnvs.train_vae``."""

    memory_keys: ClassVar[tuple[str, ...]] = (
        "optimize.batch",
        "optimize.crop",
    )

    name: str = option("tiny_vae", "name of the run's folder")
    seed: int = option(0, "seed of weights and data order", bounds=SEEDS)
    data: VaeDataConfig = section(VaeDataConfig, "the pictures")
    vae: VaeConfig = section(VaeConfig, "the network")
    optimize: VaeOptimizeConfig = section(VaeOptimizeConfig, "how it learns")
    log: VaeLogConfig = section(VaeLogConfig, "how often what is written")

    def validate(self) -> None:
        """Raises ValueError where sizes do not divide."""
        sizes = {"data.view_size": self.data.view_size, "optimize.crop": self.optimize.crop}
        for key, size in sizes.items():
            if size % self.vae.factor:
                raise ValueError(f"{key}={size} is no multiple of the VAE's {self.vae.factor}")


def run(config: TrainVaeConfig) -> None:
    """Fit, standardise the latents, measure, and write `vae/` and the final figures."""
    extended = _extended(config)
    sources = _read(config)
    prepare_cpu(config.threads)
    device = pick_device(config.device, config.deterministic)
    folder = config.open_run(PHASE)
    if extended:
        log_differences(extended, config)
    seed_everything(config.seed)
    vae = new_vae(config.vae.channels, config.data.view_size, config.vae.layers).to(device)
    optimize = config.optimize
    trainer = VaeTrainer(
        vae,
        CropSampler(sources, optimize.crop, optimize.batch, optimize.recolour, config.seed),
        steps=optimize.steps,
        rate=optimize.rate,
        warmup=optimize.warmup,
        lambda_kl=config.vae.lambda_kl,
        fault_folder=folder.path,
    )
    with StopSignals() as stop:
        validate = VaeValidation(vae, sources)
        elapsed = TrainingLoop(
            trainer,
            folder,
            config.log,
            stop,
            "fit the VAE",
            validation=Validation(validate, config.log.validate_every, at_end=True),
            extend=extended,
        ).fit()
    vae.eval()
    standardise(vae, sources)
    scores = reconstruction_psnr(vae, sources)
    mean, std = latent_moments(vae, sources)
    vae.save_pretrained(folder.path / "vae")
    write_final(
        folder,
        {
            "psnr": mean_psnr(scores),
            "psnr_of": dict(scores),
            "latent_mean": mean,
            "latent_std": std,
            "scaling_factor": vae.config.scaling_factor,
            "factor": config.vae.factor,
            "parameters": sum(p.numel() for p in vae.parameters()),
            "steps": optimize.steps,
            "cpu_seconds": elapsed.cpu_seconds,
        },
    )
    logger.info("held-out PSNR %.2f dB: %s", mean_psnr(scores), folder.path / "vae")


def _extended(config: TrainVaeConfig) -> Path | None:
    return extended_run(config, PHASE, config.optimize.steps, "optimize.steps")


def plan(config: TrainVaeConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    extended = _extended(config)
    sources = _read(config)
    vae = new_vae(config.vae.channels, config.data.view_size, config.vae.layers)
    lines = [f"{s.name}: {len(s.train)} pictures, {len(s.held_out)} held out" for s in sources]
    count = sum(p.numel() for p in vae.parameters())
    return "\n".join(
        [
            *lines,
            f"VAE of factor {config.vae.factor} with {count:,} parameters, "
            f"{config.optimize.steps} steps of {config.optimize.batch} crops",
            *describe_extension(extended),
            config.describe_run(PHASE),
        ]
    )


def _read(config: TrainVaeConfig) -> list[ImageSource]:
    if not config.data.paths:
        raise ConfigError("data.paths is missing: which pictures?")
    sources = [
        read_source(path, config.data.view_size) for path in dataset_paths(config.data.paths)
    ]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ConfigError(f"data.paths: two datasets of one name among {', '.join(names)}")
    return sources


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TrainVaeConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
