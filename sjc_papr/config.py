"""Everything a PAPR run can be told, with the reason of each default in its help text."""

from dataclasses import dataclass

from sjc_papr.data.config import DataConfig, SparseConfig
from sjc_papr.networks.config import ModelConfig
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.training.config import OptimizeConfig, PointsConfig
from training_core.checks import at_least
from training_core.config import option, section


@dataclass
class LogConfig:
    every: int = option(100, "steps between log lines")
    validate_every: int = option(2000, "steps between validations; 0 = never")
    checkpoint_every: int = option(1000, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints kept besides the best")

    def validate(self) -> None:
        """Raises ValueError on intervals below one."""
        at_least(1, every=self.every, checkpoint_every=self.checkpoint_every)
        at_least(1, keep_last=self.keep_last)
        at_least(0, validate_every=self.validate_every)


@dataclass
class CommandConfig:
    """What every training of this phase and the next is asked, whatever it trains."""

    name: str = option("papr", "name of the run's folder")
    output_root: str = option("runs", "where run folders are made")
    resume: str = option(
        "auto", "auto = continue a run of this name, never = new folder", choices=("auto", "never")
    )
    seed: int = option(0, "seed of everything random")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch")
    precision: str = option(
        "auto",
        "auto = bfloat16 where the hardware has it",
        choices=("auto", "float32", "bfloat16"),
    )


@dataclass
class RunConfig(CommandConfig):
    """What every training of point clouds is asked."""

    data: DataConfig = section(DataConfig, "the pictures")
    points: PointsConfig = section(PointsConfig, "the point cloud's start")
    model: ModelConfig = section(ModelConfig, "the network")
    log: LogConfig = section(LogConfig, "how often what is written")


@dataclass
class TrainConfig(RunConfig):
    """A run of ``sjc_papr.train``."""

    sparse: SparseConfig = section(SparseConfig, "which training views it may see")
    optimize: OptimizeConfig = section(OptimizeConfig, "how it learns")
    novel: NovelConfig = section(NovelConfig, "losses on views without a picture")
