"""Settings of ``sjc_papr.train_prior``."""

from dataclasses import dataclass
from typing import ClassVar

from sjc_papr.networks.config import PaprCommandConfig
from sjc_papr.prior.network import PriorNetworkConfig
from training_core.averaged_trainer import AveragedOptimizeConfig
from training_core.checks import in_unit_interval, positive
from training_core.config import option, section
from training_core.run_config import ValidatedLogConfig


@dataclass
class PriorDataConfig:
    paths: list[str] = option(
        [],
        "multi-view datasets (folders of frame folders), frame folders, folders of datasets, glob "
        "patterns, @FILE",
    )
    skip_frames: list[int] = option(
        [], "frames of every dataset that are left out, by number; those to be reconstructed later"
    )
    zoom_min: float = option(0.8, "smallest random factor on the focal length (more surroundings)")
    zoom_max: float = option(1.1, "largest such factor (less)")
    check: bool = option(
        True, "refuse poses that do not belong to the images; false says so and trains all the same"
    )

    def validate(self) -> None:
        """Raises ValueError on an empty range."""
        positive(zoom_min=self.zoom_min)
        if self.zoom_max < self.zoom_min:
            raise ValueError("zoom_max must not be below zoom_min")


@dataclass
class PriorOptimizeConfig(AveragedOptimizeConfig):
    steps: int = option(8000, "optimizer steps")
    batch: int = option(16, "pairs of views per step")
    rate: float = option(6e-4, "largest learning rate (AdamW)")
    warmup: float = option(
        0.02, "share of all steps over which it rises from zero (a fraction; mnvs counts steps)"
    )
    final: float = option(0.05, "share of it left at the last step (cosine in between)")
    weight_decay: float = option(0.01, "AdamW's")
    drop_condition: float = option(0.1, "fraction of pairs trained without condition, for guidance")
    ema_decay: float = option(0.998, "of the averaged weights, which are the ones saved")

    def validate(self) -> None:
        """Raises ValueError on numbers that train nothing."""
        super().validate()
        in_unit_interval(drop_condition=self.drop_condition, ema_decay=self.ema_decay)


@dataclass
class TrainPriorConfig(PaprCommandConfig):
    """A run of ``sjc_papr.train_prior``."""

    memory_keys: ClassVar[tuple[str, ...]] = ("optimize.batch",)

    may_change: ClassVar[tuple[str, ...]] = (*PaprCommandConfig.may_change, "data.check")

    name: str = option("prior", "name of the run's folder")
    data: PriorDataConfig = section(PriorDataConfig, "the images")
    start_from: str = option("", "folder of a prior, of the same network, to start from")
    network: PriorNetworkConfig = section(PriorNetworkConfig, "the denoiser")
    optimize: PriorOptimizeConfig = section(PriorOptimizeConfig, "how it learns")
    log: ValidatedLogConfig = section(ValidatedLogConfig, "how often what is written")
