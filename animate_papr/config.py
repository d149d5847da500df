"""The options of an animation run."""

from dataclasses import dataclass

from sjc_papr.config import RunConfig
from sjc_papr.training.config import (
    DensityConfig,
    LossConfig,
    OptimizeConfig,
    PatchConfig,
    RateConfig,
)
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option, section
from training_core.run_config import ValidatedLogConfig


@dataclass
class FreezeConfig:
    """Parameter groups that keep the first frame's values in every later frame."""

    positions: bool = option(False, "keep positions")
    influence: bool = option(False, "keep influence scores")
    features: bool = option(False, "keep point features")
    attention: bool = option(False, "keep the attention networks")
    renderer: bool = option(True, "keep the UNet")


@dataclass
class MotionConfig:
    """Losses that tie each point's motion since the frame before to its neighbours'."""

    smooth: float = option(0.0, "weight: points move like the mean of their neighbours")
    rigid: float = option(0.0, "weight: distances to neighbours stay as they were")
    neighbours: int = option(8, "how many neighbours, found in the frame before")

    def validate(self) -> None:
        """Raises ValueError on weights below zero and on no neighbours."""
        at_least(0, smooth=self.smooth, rigid=self.rigid)
        at_least(1, neighbours=self.neighbours)


@dataclass
class AlignConfig:
    """Moving the points to the new frame's outline before training (``hull_alignment``)."""

    steps: int = option(300, "steps; 0 = start where the frame before ended")
    rate: float = option(3e-3, "how far a point moves in a step at most, world units")
    stiff: float = option(1e3, "weight of moving like the neighbours at the first step")
    loose: float = option(10.0, "and at the last")
    neighbours: int = option(16, "how many neighbours")
    surface_points: int = option(1500, "points of the outline's hull, and of the cloud, per step")

    def validate(self) -> None:
        """Raises ValueError on counts and weights that make no alignment."""
        at_least(0, steps=self.steps)
        at_least(1, neighbours=self.neighbours, surface_points=self.surface_points)
        positive(rate=self.rate, stiff=self.stiff, loose=self.loose)


@dataclass
class NextFrameConfig:
    """How a frame learns from the one before it."""

    steps: int = option(1500, "optimizer steps per frame")
    preset: str = option(
        "motion",
        "motion = positions first with all else fixed, then all that is not frozen; "
        "report = all that is not frozen from the start",
        choices=("motion", "report"),
    )
    motion_share: float = option(0.5, "share of the steps in which only positions train (motion)")
    motion_rate: float = option(8e-3, "learning rate of positions in that share")
    rates: RateConfig = section(RateConfig, "learning rates otherwise")
    freeze: FreezeConfig = section(FreezeConfig, "what keeps the first frame's values")
    align: AlignConfig = section(AlignConfig, "following large motions before training")
    motion: MotionConfig = section(MotionConfig, "how neighbours move together")
    patches: PatchConfig = section(PatchConfig, "which pixels a step sees")
    losses: LossConfig = section(LossConfig, "loss weights")
    density: DensityConfig = section(
        DensityConfig, "dropping and adding points; off, so that point i stays point i"
    )

    def validate(self) -> None:
        """Raises ValueError where a part of the steps would train nothing."""
        at_least(1, steps=self.steps)
        in_unit_interval(motion_share=self.motion_share)
        positive(motion_rate=self.motion_rate)
        if not any(
            getattr(self.rates, g) > 0.0 for g, still in vars(self.freeze).items() if not still
        ):
            raise ValueError("every group is frozen or has rate 0: nothing would train")


@dataclass
class AnimateConfig(RunConfig):
    """A run of ``animate_papr.train``; ``data.path`` is a folder of frame folders."""

    name: str = option("animation", "name of the run's folder")
    frames: list[str] = option([], "frame folders in order of time; [] = all of them")
    first: OptimizeConfig = section(OptimizeConfig, "how the first frame learns")
    next: NextFrameConfig = section(NextFrameConfig, "how each later frame learns")
    log: ValidatedLogConfig = section(
        ValidatedLogConfig, "how often what is written", validate_every=0
    )
