"""Learning rates as a pure function of parameter group and step."""

from dataclasses import dataclass

import torch

from sjc_papr.training.config import RateConfig
from training_core.step.schedules import warmup_cosine

GROUPS = ("positions", "influence", "features", "attention", "renderer")


@dataclass(frozen=True)
class Phase:
    """Some steps in a row in which some groups train.

    Attributes:
        steps: how many. peaks: highest rate of each group that trains; the others rest.
        warmup: steps of rising rates. final: share of the peak left at the end (cosine in between).
    """

    steps: int
    peaks: dict[str, float]
    warmup: int
    final: float


class LRSchedule:
    """The stages of a run, one after the other."""

    def __init__(self, stages: list[Phase]) -> None:
        self.stages = stages

    def __call__(self, group: str, step: int) -> float:
        """Learning rate of ``group`` in step number ``step`` (from 0)."""
        for stage in self.stages:
            if step < stage.steps:
                peak = stage.peaks.get(group, 0.0)
                end = peak * stage.final
                # Counted from one, so that the first step already moves.
                return warmup_cosine(step + 1, stage.steps, stage.warmup, peak, end)
            step -= stage.steps
        return 0.0

    def trains(self, group: str, step: int) -> bool:
        """Whether the group takes part in the stage that step number ``step`` belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage.peaks.get(group, 0.0) > 0.0
            step -= stage.steps
        return False

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rate of every named group; those that rest in this step get no gradient."""
        for group in optimizer.param_groups:
            group["lr"] = self(group["name"], step)
            for parameter in group["params"]:
                # Without a gradient Adam leaves the parameter and its moments alone.
                parameter.requires_grad_(self.trains(group["name"], step))

    def ever(self, group: str) -> bool:
        """Whether the group trains at all."""
        return any(stage.steps and stage.peaks.get(group, 0.0) > 0.0 for stage in self.stages)


def peaks_of(config: RateConfig) -> dict[str, float]:
    """The configured rate of every group."""
    return {group: config.factor * getattr(config, group) for group in GROUPS}


def single_stage(
    config: RateConfig, steps: int, others: dict[str, float] | None = None
) -> LRSchedule:
    """All groups from the first step to the last; ``others``: rates of more than the model's."""
    warmup = round(config.warmup * steps)
    return LRSchedule([Phase(steps, peaks_of(config) | (others or {}), warmup, config.final)])
