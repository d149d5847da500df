"""Validation by generated videos: the same clips and the same noise every time."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blender_render.imaging.images import write_png
from blender_render.imaging.metrics import mean_metrics
from mnvs.data.dataset import Clip, SixViewDataset
from mnvs.data.tiles import unpack_tile
from mnvs.inference.pipeline import MNVSPipeline
from mnvs.training.baselines import TrueClip, baseline_scores
from mnvs.training.config import ModelConfig, ValidationConfig
from mnvs.training.metrics import video_scores
from training_core.metrics_log import MetricsLog
from training_core.step.ema import Ema

_SHOWN_FRAMES = 4


class ClipValidation:
    """Generates clips with the pipeline that users get, and measures them; the training loop calls
    it.

    Args:
        pipeline: around the network that trains.
        truths: the clips, with the condition that the network is shown.
        view_size: side of one view in pixels.
        ema: whose averages are looked at instead of the weights, or None.
        autocast: makes the context that networks run in while training.
        training: the videos that are trained on, whose mean and nearest clips are among the
            baselines (``config.baselines`` of them); None = no baselines.
    """

    def __init__(
        self,
        pipeline: MNVSPipeline,
        truths: Sequence[TrueClip],
        config: ValidationConfig,
        model: ModelConfig,
        *,
        view_size: int,
        ema: Ema | None = None,
        autocast: Callable[[], Any] = contextlib.nullcontext,
        training: SixViewDataset | None = None,
    ) -> None:
        self.pipeline, self.truths, self.config, self.model = pipeline, truths, config, model
        self.training = training
        self.ema, self.view_size, self.autocast = ema, view_size, autocast
        self._generated: tuple[int, list[Tensor]] | None = None
        pipeline.set_progress_bar_config(disable=True)

    def __call__(self, log: MetricsLog, step: int) -> float:
        """Log figures and pictures of every clip; the mean PSNR in dB."""
        videos = self.prepare(step)
        scores = self._scores(videos)
        for name, truth, tiles in zip(self._names(), self.truths, videos, strict=True):
            picture = contact_sheet(truth.clip.tiles, tiles)
            log.image(f"val/{name}", picture.movedim(0, -1), step)
        means = mean_metrics(scores, math.nan)
        log.log(step, {f"val/{name}": value for name, value in means.items()})
        return means["psnr"]

    def prepare(self, step: int) -> list[Tensor]:
        """What ``generate`` makes after ``step`` steps, made once. Where weights are spread over
        processes, all of them must call this.
        """
        if self._generated is None or self._generated[0] != step:
            self._generated = step, self.generate()
        return self._generated[1]

    def final(self, folder: Path, step: int) -> dict[str, Any]:
        """Scores of every clip after ``step`` steps and their means, with a contact sheet of each
        in ``folder``. What was generated at this step already is not generated again.
        """
        videos = self.prepare(step)
        by_clip = dict(zip(self._names(), self._scores(videos), strict=True))
        for name, truth, tiles in zip(by_clip, self.truths, videos, strict=True):
            write_png(folder / f"{name}.png", contact_sheet(truth.clip.tiles, tiles).movedim(0, -1))
        return {**mean_metrics(list(by_clip.values()), math.nan), "clips": by_clip}

    @functools.cached_property
    def baselines(self) -> list[dict[str, float]]:
        """Figures of every clip's baselines, which stay the same."""
        if self.training is None or not self.config.baselines:
            return [{} for _ in self.truths]
        return baseline_scores(self.truths, self.training, self.config.baselines)

    def _names(self) -> list[str]:
        return [f"{number}_{truth.clip.name}" for number, truth in enumerate(self.truths)]

    def _scores(self, videos: Sequence[Tensor]) -> list[dict[str, float]]:
        return [
            video_scores(unpack_tile(tiles), truth.views, truth.box) | baselines
            for truth, tiles, baselines in zip(self.truths, videos, self.baselines, strict=True)
        ]

    def generate(self) -> list[Tensor]:
        """Tiles [T, 3, 3·h, 2·w] of every clip."""
        unet = self.pipeline.unet
        averaged = self.ema.in_use() if self.ema else contextlib.nullcontext()
        was_training = unet.training
        unet.eval()
        try:
            with averaged, self.autocast():
                return [self._generate(truth.clip) for truth in self.truths]
        finally:
            unet.train(was_training)

    def _generate(self, clip: Clip) -> Tensor:
        output = self.pipeline(
            clip.condition,
            len(clip.tiles),
            self.config.steps,
            self.config.guidance,
            generator=torch.Generator().manual_seed(self.config.seed),
            view_size=self.view_size,
            shared_noise=self.config.shared_noise,
            fps=clip.fps,
            motion_bucket=self.model.motion_bucket,
            noise_augmentation=self.model.noise_augmentation,
        )
        tiles: Tensor = output.tiles
        return tiles


def contact_sheet(truth: Tensor, generated: Tensor, frames: int = _SHOWN_FRAMES) -> Tensor:
    """[3, 2·H, n·W]: a few tiles of the truth in a row, those generated below.

    Args:
        truth, generated: [T, 3, H, W] in [0, 1].
    """
    count = min(frames, len(truth))
    chosen = torch.linspace(0, len(truth) - 1, count).round().long()
    rows = [torch.cat(list(video[chosen]), dim=-1) for video in (truth, generated)]
    return torch.cat(rows, dim=-2)
