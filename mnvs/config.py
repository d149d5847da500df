"""The configuration of ``mnvs.train``, assembled from the sections of its parts."""

from dataclasses import dataclass

from mnvs.data.dataset import DataConfig
from mnvs.training.config import ModelConfig, StepsConfig, ValidationConfig
from training_core.checks import at_least
from training_core.config import option, section


@dataclass
class LogConfig:
    every: int = option(20, "steps between log lines; figures are means since the last one")
    checkpoint_every: int = option(500, "steps between checkpoints")
    keep_last: int = option(2, "checkpoints kept besides the best")

    def validate(self) -> None:
        """Raises ValueError on intervals below one."""
        at_least(1, every=self.every, checkpoint_every=self.checkpoint_every)
        at_least(1, keep_last=self.keep_last)


@dataclass
class TrainConfig:
    """A run of ``mnvs.train``."""

    name: str = option("mnvs", "name of the run's folder")
    output_root: str = option("runs", "where run folders are made")
    resume: str = option(
        "auto", "auto = continue a run of this name, never = new folder", choices=("auto", "never")
    )
    seed: int = option(0, "seed of everything random")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch")
    precision: str = option(
        "auto",
        "number format of matrix products: auto = bf16 on GPUs that have it, fp16 on other GPUs, "
        "fp32 on CPUs; fp16 scales the loss. Trained weights and their moments are always fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    model: ModelConfig = section(ModelConfig, "the networks to start from")
    data: DataConfig = section(DataConfig, "the clips")
    train: StepsConfig = section(StepsConfig, "the training steps")
    validation: ValidationConfig = section(ValidationConfig, "clips generated during training")
    log: LogConfig = section(LogConfig, "intervals of logs and checkpoints")

    def validate(self) -> None:
        """Raises ValueError on a rig beside a pipeline, which has its own."""
        if self.model.pipeline and self.data.rig:
            raise ValueError("data.rig goes with model.zero123plus; a pipeline has its own")
