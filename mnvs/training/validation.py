"""Validation by generated videos: the same clips and the same noise every time."""

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blender_render.imaging.images import write_png
from blender_render.imaging.metrics import mean_metrics
from mnvs.data.dataset import Clip
from mnvs.data.tiles import unpack_tile
from mnvs.inference.pipeline import MNVSPipeline
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
        clips: pictures of the truth, with the condition the network is shown.
        view_size: side of one view in pixels.
        ema: whose averages are looked at instead of the weights, or None.
        autocast: makes the context that networks run in while training.
    """

    def __init__(
        self,
        pipeline: MNVSPipeline,
        clips: Sequence[Clip],
        config: ValidationConfig,
        model: ModelConfig,
        *,
        view_size: int,
        ema: Ema | None = None,
        autocast: Callable[[], Any] = contextlib.nullcontext,
    ) -> None:
        self.pipeline, self.clips, self.config, self.model = pipeline, clips, config, model
        self.ema, self.view_size, self.autocast = ema, view_size, autocast
        self._generated: tuple[int, list[Tensor]] | None = None
        pipeline.set_progress_bar_config(disable=True)

    def __call__(self, log: MetricsLog, step: int) -> float:
        """Log figures and pictures of every clip; the mean PSNR in dB."""
        scores = []
        self._generated = step, self.generate()
        for number, (clip, tiles) in enumerate(zip(self.clips, self._generated[1], strict=True)):
            scores.append(video_scores(unpack_tile(tiles), unpack_tile(clip.tiles)))
            picture = contact_sheet(clip.tiles, tiles)
            log.image(f"val/{number}_{clip.name}", picture.movedim(0, -1), step)
        means = mean_metrics(scores, math.nan)
        log.log(step, {f"val/{name}": value for name, value in means.items()})
        return means["psnr"]

    def final(self, folder: Path, step: int) -> dict[str, Any]:
        """Scores of every clip after ``step`` steps and their means, with a contact sheet of each
        in ``folder``. What was generated at this step already is not generated again.
        """
        by_clip = {}
        ready = self._generated is not None and self._generated[0] == step
        videos = self._generated[1] if self._generated and ready else self.generate()
        for number, (clip, tiles) in enumerate(zip(self.clips, videos, strict=True)):
            name = f"{number}_{clip.name}"
            by_clip[name] = video_scores(unpack_tile(tiles), unpack_tile(clip.tiles))
            write_png(folder / f"{name}.png", contact_sheet(clip.tiles, tiles).movedim(0, -1))
        return {**mean_metrics(list(by_clip.values()), math.nan), "clips": by_clip}

    def generate(self) -> list[Tensor]:
        """Tiles [T, 3, 3·h, 2·w] of every clip."""
        unet = self.pipeline.unet
        averaged = self.ema.in_use() if self.ema else contextlib.nullcontext()
        was_training = unet.training
        unet.eval()
        try:
            with averaged, self.autocast():
                return [self._generate(clip) for clip in self.clips]
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
