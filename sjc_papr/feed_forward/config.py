"""Settings of ``sjc_papr.train_depth``."""

from dataclasses import dataclass
from typing import ClassVar

from sjc_papr.feed_forward.network import DepthNetworkConfig
from sjc_papr.networks.config import PaprCommandConfig
from training_core.averaged_trainer import AveragedOptimizeConfig
from training_core.checks import in_unit_interval
from training_core.config import option, section
from training_core.run_config import ValidatedLogConfig


@dataclass
class DepthDataConfig:
    paths: list[str] = option(
        [], "six-view videos with depth (folders or .zip), or folders of such; to learn from"
    )
    val_paths: list[str] = option([], "the same, of other assets; to watch the error on")
    augment: bool = option(True, "turn by thirds, mirror, exchange colour channels")


@dataclass
class DepthOptimizeConfig(AveragedOptimizeConfig):
    batch: int = option(4, "frames (of six views) per step")
    ema_decay: float = option(0.995, "of the averaged weights, which are the ones saved")

    def validate(self) -> None:
        """Raises ValueError on numbers that train nothing."""
        super().validate()
        in_unit_interval(ema_decay=self.ema_decay)


@dataclass
class TrainDepthConfig(PaprCommandConfig):
    """A run of ``sjc_papr.train_depth``."""

    memory_keys: ClassVar[tuple[str, ...]] = ("optimize.batch",)

    # A run may be made longer or shorter on the way: its rates follow the new length from there.
    may_change: ClassVar[tuple[str, ...]] = (*PaprCommandConfig.may_change, "optimize.steps")

    name: str = option("depth", "name of the run's folder")
    data: DepthDataConfig = section(DepthDataConfig, "the pictures")
    network: DepthNetworkConfig = section(DepthNetworkConfig, "the network")
    optimize: DepthOptimizeConfig = section(DepthOptimizeConfig, "how it learns")
    log: ValidatedLogConfig = section(ValidatedLogConfig, "how often what is written")
