"""The configuration of ``mnvs.train``, assembled from the sections of its parts."""

from dataclasses import dataclass
from typing import ClassVar

from mnvs.data.dataset import DataConfig
from mnvs.training.config import ModelConfig, StepsConfig, ValidationConfig
from training_core.config import option, section
from training_core.run_config import CommandConfig, LogConfig


@dataclass
class AveragedLogConfig(LogConfig):
    every: int = option(20, "steps between log lines; figures are means since the last one")
    checkpoint_every: int = option(500, "steps between checkpoints")


@dataclass
class TrainConfig(CommandConfig):
    """A run of ``mnvs.train``."""

    memory_keys: ClassVar[tuple[str, ...]] = (
        "train.gradient_checkpointing",
        "train.accumulate",
        "data.frames",
        "train.lora.rank",
        "train.optimizer.kind",
        "train.shard",
        "precision",
        "data.view_size",
    )

    may_change: ClassVar[tuple[str, ...]] = (
        *CommandConfig.may_change,
        "validation",
        "data.cache",
        "train.accumulate",
        "train.shard",
    )

    name: str = option("mnvs", "name of the run's folder")
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
    log: AveragedLogConfig = section(AveragedLogConfig, "intervals of logs and checkpoints")

    def validate(self) -> None:
        """Raises ValueError on a rig beside a pipeline, which has its own."""
        if self.model.pipeline and self.data.rig:
            raise ValueError("data.rig goes with model.zero123plus; a pipeline has its own")
