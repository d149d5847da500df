"""Options of a training run: its networks, its steps, its validation."""

from dataclasses import dataclass

from mnvs.diffusion.objectives import ObjectiveConfig
from mnvs.lora.settings import LoraSettings
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import SEEDS, option, section

OPTIMIZERS = ("adam", "adamw", "adamw8bit")


@dataclass
class ModelConfig:
    zero123plus: str = option(
        "", "Zero123++ checkpoint: a folder, or a name in the local Hugging Face cache"
    )
    temporal_source: str = option(
        "", "checkpoint of the temporal layers, likewise: SVD or a MotionAdapter; empty = random"
    )
    pipeline: str = option(
        "", "a pipeline saved by full training to start from, instead of the two above"
    )
    temporal: str = option("svd", "kind of temporal layers", choices=("svd", "animatediff"))
    temporal_start: str = option(
        "gated",
        "gated = 1% temporal at first, svd = as the temporal checkpoint mixes",
        choices=("gated", "svd"),
    )
    variant: str = option("", "variant of the weight files, such as fp16; empty = none")
    motion_bucket: int = option(127, "SVD's motion bucket, 0 to 255, the same in every step")
    noise_augmentation: float = option(0.02, "SVD's noise augmentation, the same in every step")

    def validate(self) -> None:
        """Raises ValueError on two sources at once, on options that do not go with the source, and
        on numbers outside SVD's ranges.
        """
        if self.pipeline and (self.zero123plus or self.temporal_source):
            raise ValueError("give pipeline, or zero123plus and temporal_source, not both")
        for name in ("temporal", "temporal_start"):
            default = type(self).__dataclass_fields__[name].default
            if self.pipeline and getattr(self, name) != default:
                raise ValueError(f"{name} goes with zero123plus; a pipeline has its own")
        if not 0 <= self.motion_bucket <= 255:
            raise ValueError(f"motion_bucket must be in 0..255, is {self.motion_bucket}")
        at_least(0, noise_augmentation=self.noise_augmentation)


@dataclass
class OptimizerConfig:
    kind: str = option("adamw", "adamw8bit needs bitsandbytes and CUDA", choices=OPTIMIZERS)
    rate: float = option(1e-4, "largest learning rate; full fine-tuning wants about 1e-5")
    betas: list[float] = option([0.9, 0.999], "decay of Adam's two averages")
    epsilon: float = option(1e-8, "added to the root in Adam's denominator")
    weight_decay: float = option(1e-2, "decoupled weight decay, per unit of rate (not with adam)")
    warmup: int = option(100, "steps over which the rate rises from zero")
    final: float = option(0.1, "fraction of the rate left at the last step (cosine in between)")
    clip: float = option(1.0, "limit of the gradient norm; 0 = none")

    def validate(self) -> None:
        """Raises ValueError on negative numbers and betas outside [0, 1)."""
        positive(rate=self.rate, epsilon=self.epsilon)
        at_least(0, weight_decay=self.weight_decay, warmup=self.warmup, clip=self.clip)
        in_unit_interval(final=self.final)
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), are {self.betas}")


@dataclass
class StepsConfig:
    parameters: str = option(
        "lora", "lora = adapters on a frozen network, full = the network", choices=("lora", "full")
    )
    lora: LoraSettings = section(LoraSettings, "the adapters")
    objective: ObjectiveConfig = section(ObjectiveConfig, "the loss and its noise levels")
    optimizer: OptimizerConfig = section(OptimizerConfig, "the optimizer")
    steps: int = option(20000, "optimizer steps")
    batch: int = option(1, "videos per optimizer step, over all processes")
    accumulate: int = option(
        1, "parts into which each process divides its share of the batch; 0 = one video at a time"
    )
    gradient_checkpointing: bool = option(
        True, "recompute activations in the backward pass: less memory, a third slower"
    )
    ema: float = option(0.0, "decay of the averaged weights that validate and are saved; 0 = none")
    shard: bool = option(
        False,
        "spread weights, gradients and moments of full training over the processes (FSDP2): less "
        "memory on each GPU; precision bf16 or fp32",
    )

    def validate(self) -> None:
        """Raises ValueError where batches do not divide."""
        at_least(1, steps=self.steps, batch=self.batch)
        at_least(0, accumulate=self.accumulate)
        if self.accumulate and self.batch % self.accumulate:
            raise ValueError(f"batch={self.batch} is no multiple of accumulate={self.accumulate}")
        if not 0.0 <= self.ema < 1.0:
            raise ValueError(f"ema must be in [0, 1), is {self.ema}")
        if self.shard and (self.parameters != "full" or self.optimizer.kind == "adamw8bit"):
            raise ValueError("shard goes with parameters=full, and adam or adamw")


@dataclass
class ValidationConfig:
    every: int = option(1000, "steps between validations, the first before any step; 0 = never")
    paths: list[str] = option([], "six-view datasets to generate, as data.paths; empty = those")
    clips: int = option(2, "clips generated each time, from the start of as many datasets")
    steps: int = option(28, "denoising steps")
    guidance: float = option(4.0, "scale of classifier-free guidance")
    shared_noise: bool = option(False, "start all frames from the same noise")
    seed: int = option(0, "seed of the start noise; the same in every validation", bounds=SEEDS)
    baselines: int = option(
        64, "training videos among which the mean and the nearest clip are sought, 0 = no baselines"
    )

    def validate(self) -> None:
        """Raises ValueError on counts below one."""
        at_least(0, every=self.every, baselines=self.baselines)
        at_least(1, clips=self.clips, steps=self.steps, guidance=self.guidance)
