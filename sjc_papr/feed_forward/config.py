"""Settings of ``sjc_papr.train_depth``."""

from dataclasses import dataclass
from typing import ClassVar

from sjc_papr.feed_forward.network import DepthNetworkConfig
from sjc_papr.networks.config import PaprCommandConfig
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option, section
from training_core.run_config import CommandConfig, ValidatedLogConfig


@dataclass
class DepthDataConfig:
    paths: list[str] = option(
        [], "six-view videos with depth (folders or .zip), or folders of such; to learn from"
    )
    val_paths: list[str] = option([], "the same, of other assets; to watch the error on")
    augment: bool = option(True, "turn by thirds, mirror, exchange colour channels")


@dataclass
class DepthOptimizeConfig:
    steps: int = option(2000, "optimizer steps")
    batch: int = option(4, "frames (of six views) per step")
    rate: float = option(1e-3, "largest learning rate (AdamW)")
    warmup: float = option(0.03, "share of the steps over which it rises from zero")
    final: float = option(0.02, "share of it left at the last step (cosine in between)")
    weight_decay: float = option(0.02, "AdamW's")
    clip_gradient: float = option(1.0, "largest gradient norm; 0 = no limit")
    ema_decay: float = option(0.995, "of the averaged weights, which are the ones saved")

    def validate(self) -> None:
        """Raises ValueError on numbers that train nothing."""
        at_least(1, steps=self.steps, batch=self.batch)
        at_least(0, weight_decay=self.weight_decay, clip_gradient=self.clip_gradient)
        positive(rate=self.rate)
        in_unit_interval(warmup=self.warmup, final=self.final, ema_decay=self.ema_decay)


@dataclass
class TrainDepthConfig(PaprCommandConfig):
    """A run of ``sjc_papr.train_depth``."""

    # A run may be made longer or shorter on the way: its rates follow the new length from there.
    may_change: ClassVar[tuple[str, ...]] = (*CommandConfig.may_change, "optimize.steps")

    name: str = option("depth", "name of the run's folder")
    data: DepthDataConfig = section(DepthDataConfig, "the pictures")
    network: DepthNetworkConfig = section(DepthNetworkConfig, "the network")
    optimize: DepthOptimizeConfig = section(DepthOptimizeConfig, "how it learns")
    log: ValidatedLogConfig = section(ValidatedLogConfig, "how often what is written")
