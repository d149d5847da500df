"""Settings of ``sjc_papr.train_pseudo_views``, and of a PAPR run that learns from pseudo-views."""

from dataclasses import dataclass
from typing import ClassVar

from sjc_papr.networks.config import PaprCommandConfig
from sjc_papr.pseudo_views.network import ViewNetworkConfig
from training_core.averaged_trainer import AveragedOptimizeConfig
from training_core.checks import at_least, at_most, in_unit_interval
from training_core.config import option, section
from training_core.run_config import ValidatedLogConfig

# More directions than that are nowhere else than the others.
MOST_VIEWS = 1000


@dataclass
class PseudoViewsConfig:
    """Pictures of other sides that a network makes of six, for PAPR to learn from."""

    count: int = option(
        0, "how many, spread evenly around the object; 0 = none; needs the six views of a rig"
    )
    share: float = option(
        0.5, "share of the patches that are cut from them; the alignment of later frames sees all"
    )
    network: str = option(
        "",
        "folder of sjc_papr.train_pseudo_views's network; empty = the one that comes along",
    )
    depth_network: str = option(
        "", "folder of sjc_papr.train_depth's network; empty = the one that comes along"
    )

    @property
    def on(self) -> bool:
        """Whether any are made."""
        return bool(self.count and self.share)

    def validate(self) -> None:
        """Raises ValueError on counts and shares that mean nothing."""
        at_least(0, count=self.count)
        at_most(MOST_VIEWS, count=self.count)
        in_unit_interval(share=self.share)


@dataclass
class ViewDataConfig:
    paths: list[str] = option(
        [], "six-view videos (folders or .zip), or folders of such; to learn from"
    )
    views: list[str] = option(
        [], "multi-view datasets of the same assets, actions and frames, or folders of such"
    )
    split: str = option("train", "of them, which the network learns to picture")
    val_paths: list[str] = option([], "as paths, of other assets; to watch the quality on")
    val_views: list[str] = option([], "as views, of other assets")
    val_split: str = option("test", "as split")
    depth_network: str = option(
        "", "folder of sjc_papr.train_depth's network; empty = the one that comes along"
    )
    depth_noise: float = option(
        0.02,
        "depths are made worse for training, as those of assets that the depth network has not "
        "seen are: by up to this much, world units, and moved towards the hull",
    )
    augment: bool = option(True, "mirror, exchange colour channels")

    def validate(self) -> None:
        """Raises ValueError on a negative error."""
        at_least(0, depth_noise=self.depth_noise)


@dataclass
class ViewOptimizeConfig(AveragedOptimizeConfig):
    batch: int = option(4, "views per step")
    ema_decay: float = option(0.995, "of the averaged weights, which are the ones saved")

    def validate(self) -> None:
        """Raises ValueError on numbers that train nothing."""
        super().validate()
        in_unit_interval(ema_decay=self.ema_decay)


@dataclass
class TrainPseudoViewsConfig(PaprCommandConfig):
    """A run of ``sjc_papr.train_pseudo_views``."""

    memory_keys: ClassVar[tuple[str, ...]] = ("optimize.batch",)

    # A run may be made longer or shorter on the way: its rates follow the new length from there.
    may_change: ClassVar[tuple[str, ...]] = (*PaprCommandConfig.may_change, "optimize.steps")

    name: str = option("pseudo_views", "name of the run's folder")
    data: ViewDataConfig = section(ViewDataConfig, "the pictures")
    network: ViewNetworkConfig = section(ViewNetworkConfig, "the network")
    optimize: ViewOptimizeConfig = section(ViewOptimizeConfig, "how it learns")
    log: ValidatedLogConfig = section(ValidatedLogConfig, "how often what is written")
