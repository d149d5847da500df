"""The options of an animation run."""

from dataclasses import dataclass
from typing import ClassVar

from animate_papr.following.config import AlignConfig, MotionConfig, PlateauConfig
from sjc_papr.config import RunConfig
from sjc_papr.novel_view.config import NovelConfig
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
class NextFrameConfig:
    """How a frame learns from the one before it."""

    steps: int = option(800, "optimizer steps per frame")
    preset: str = option(
        "report",
        "report = all that is not frozen from the start; motion = positions first with all else "
        "fixed, then all that is not frozen",
        choices=("report", "motion"),
    )
    motion_share: float = option(0.5, "share of the steps in which only positions train (motion)")
    motion_rate: float = option(8e-3, "learning rate of positions in that share")
    rates: RateConfig = section(RateConfig, "learning rates otherwise")
    freeze: FreezeConfig = section(FreezeConfig, "what keeps the first frame's values")
    align: AlignConfig = section(AlignConfig, "following large motions before training")
    motion: MotionConfig = section(MotionConfig, "how neighbours move together", smooth=0.1)
    plateau: PlateauConfig = section(PlateauConfig, "ending before all steps are made")
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
class FrameNovelConfig:
    """Losses on views without an image, of the first frame and of the others by themselves."""

    first: NovelConfig = section(NovelConfig, "of the first frame")
    next: NovelConfig = section(NovelConfig, "of each later frame")

    @property
    def on(self) -> bool:
        """Whether any term of any frame has a weight."""
        return self.first.on or self.next.on

    def of_frame(self, index: int) -> NovelConfig:
        """Those of frame number ``index``."""
        return self.next if index else self.first


@dataclass
class AnimateConfig(RunConfig):
    """A run of ``animate_papr.train``; ``data.path`` is a folder of frame folders."""

    memory_keys: ClassVar[tuple[str, ...]] = (
        "first.patches.per_step",
        "first.patches.size",
        "next.patches.size",
        "model.neighbours",
        "precision",
    )

    name: str = option("animation", "name of the run's folder")
    frames: list[str] = option([], "frame folders in order of time; [] = all of them")
    first: OptimizeConfig = section(OptimizeConfig, "how the first frame learns")
    next: NextFrameConfig = section(
        NextFrameConfig,
        "how each later frame learns; hidden points and random backgrounds are the first one's",
    )
    novel: FrameNovelConfig = section(
        FrameNovelConfig, "losses on novel views, which have no image"
    )
    log: ValidatedLogConfig = section(
        ValidatedLogConfig, "how often what is written", validate_every=0
    )

    def without_six_views(self) -> None:
        """Turn off what is made by networks that know the six views of a rig alone."""
        self.pseudo.count = 0
        if self.points.init == "network":
            self.points.init = "hull"
