"""Ending a frame's training where it has stopped getting better.

With a rate that falls on a fixed curve, nothing can be said before its end. So rates are held at
their peak while the pictures that are trained on still come closer, and fall over a fixed number of
steps from the moment they do not. The decision is a function of measurements that checkpoints keep,
so a continued run decides as an undisturbed one does.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from animate_papr.following.config import PlateauConfig
from blender_render.dataset.readers import Views
from blender_render.imaging.metrics import psnr
from blender_render.imaging.resize import resize_rgba
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render_cameras
from sjc_papr.training.lr_schedule import LRSchedule, Phase
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import Checkpoint


class Plateau:
    """When rates begin to fall, and the schedule that follows from it.

    Args:
        schedule: of all steps; its last stage is the one that may be cut short.
        finish: share of all steps in which rates fall in the end, taken from that stage.
    """

    def __init__(self, config: PlateauConfig, schedule: LRSchedule) -> None:
        self.config = config
        *self.before, self.last = schedule.stages
        self.first = sum(stage.steps for stage in self.before)
        self.finish = max(1, round(config.finish * (self.first + self.last.steps)))
        self.finish = min(self.finish, self.last.steps)
        # Where rates begin to fall at the latest.
        self.begin = self.first + self.last.steps - self.finish
        self.measured: list[float] = []

    @property
    def steps(self) -> int:
        """Of the whole training, as far as is known now."""
        return self.begin + self.finish

    def due(self, done: int) -> bool:
        """Whether to measure after ``done`` steps."""
        since = done - self.first
        return since >= 0 and done < self.begin and since % self.config.every == 0

    def add(self, done: int, quality: float) -> None:
        """Take in the quality, in dB, after ``done`` steps."""
        self.measured.append(quality)
        recent, earlier = self.measured[-self.config.patience :], self.measured
        earlier = earlier[: -self.config.patience]
        if earlier and max(recent) < max(earlier) + self.config.gain:
            self.begin = done

    def schedule(self) -> LRSchedule:
        """Rates as far as is known now."""
        last, held = self.last, self.begin - self.first
        hold = Phase(held, last.peaks, min(last.warmup, held), 1.0)
        # Without steps at the peak, the rise belongs to the fall.
        rise = 0 if held else min(last.warmup, self.finish)
        return LRSchedule([*self.before, hold, Phase(self.finish, last.peaks, rise, last.final)])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"begin": self.begin, "measured": self.measured}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.begin, self.measured = int(saved["begin"]), list(saved["measured"])


class PlateauTrainer(Trainer):
    """A trainer that ends on a plateau.

    Args:
        plateau: decides. quality: measures the model, dB. Others as of ``Trainer``.
    """

    def __init__(
        self, *arguments: Any, plateau: Plateau, quality: Callable[[], float], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.plateau, self.quality = plateau, quality
        self.rates = plateau.schedule()

    @property
    def steps(self) -> int:
        """See ``Plateau.steps``."""
        return self.plateau.steps

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        """See ``Trainer.step``; also measures where that is due."""
        logged = super().step(step, measure=measure)
        if self.plateau.due(step + 1):
            quality = self.quality()
            self.plateau.add(step + 1, quality)
            self.rates = self.plateau.schedule()
            logged["plateau/psnr"] = torch.tensor(quality)
        return logged

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds."""
        tensors, state = super().tensors()
        return tensors, state | {"plateau": self.plateau.state_dict()}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        super().restore(saved)
        # Missing where this run extends one that made all its steps.
        if "plateau" in saved.state:
            self.plateau.load_state_dict(saved.state["plateau"])
            self.rates = self.plateau.schedule()


def trained_quality(
    model: Papr, views: Views, config: PlateauConfig, *, background: float, precision: str
) -> Callable[[], float]:
    """Mean PSNR in dB over a few of the training views, made small; the same ones every time."""
    count = min(config.views, len(views))
    chosen = [round(i * (len(views) - 1) / max(count - 1, 1)) for i in range(count)]
    cameras, truths = [], []
    for index in chosen:
        camera = views.cameras[index]
        scale = min(1.0, config.side / max(camera.width, camera.height))
        size = max(8, round(camera.width * scale)), max(8, round(camera.height * scale))
        cameras.append(camera.resized(*size))
        rgba = resize_rgba(views.images[index], *size)
        truths.append(torch.lerp(torch.tensor(background), rgba[..., :3], rgba[..., 3:])[None])

    @torch.inference_mode()
    def quality() -> float:
        outputs = render_cameras(model, cameras, background=background, precision=precision)
        found = [
            psnr(output.rgb.clamp(0.0, 1.0), truth.to(output.rgb.device)).item()
            for output, truth in zip(outputs, truths, strict=True)
        ]
        return sum(found) / len(found)

    return quality
