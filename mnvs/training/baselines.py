"""What a generated six-view video is compared with: four answers that need no network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mnvs.data.dataset import Clip, SixViewDataset
from mnvs.data.tiles import VIEWS, unpack_tile
from mnvs.encoders.vae_scaling import GREY
from mnvs.training.metrics import boxes_around, reference_scores


@dataclass(eq=False)
class TrueClip:
    """A clip of the validation with what its figures need.

    Attributes:
        clip: the truth, and what the network is shown.
        path: of the dataset, so that it is not compared with itself.
        box: bool [T, 6, h, w], see ``boxes_around``.
    """

    clip: Clip
    path: Path
    box: Tensor

    @classmethod
    def of(cls, dataset: SixViewDataset, video: int) -> "TrueClip":
        """The first T frames of a video."""
        clip = dataset.whole(video)
        return cls(clip, dataset.paths[video], boxes_around(dataset.alpha(video, clip.frames)))

    @property
    def views(self) -> Tensor:
        """[T, 6, 3, h, w]."""
        return unpack_tile(self.clip.tiles)


@dataclass(eq=False)
class _Neighbours:
    """Mean and nearest of the training clips that were shown to one clip of the validation."""

    total: Tensor | None = None
    count: int = 0
    nearest: Tensor | None = None
    distance: float = math.inf

    def look_at(self, clip: Clip, wanted: Clip) -> None:
        if clip.tiles.shape != wanted.tiles.shape or clip.condition.shape != wanted.condition.shape:
            return
        self.total = clip.tiles.double() + (0.0 if self.total is None else self.total)
        self.count += 1
        distance = float((clip.condition - wanted.condition).double().square().mean())
        if distance < self.distance:
            self.distance, self.nearest = distance, clip.tiles


def baseline_scores(
    truths: Sequence[TrueClip], training: SixViewDataset, most: int
) -> list[dict[str, float]]:
    """``psnr_NAME`` and ``psnr_box_NAME`` of every clip, for these answers:

    - ``grey``: the background alone;
    - ``input``: the picture that the network is shown, in place of every view;
    - ``mean``: the mean of the training clips;
    - ``nearest``: the training clip whose input pictures are nearest to the clip's own.

    Args:
        training: its first T frames of each video are the training clips.
        most: videos of it that are looked at, evenly chosen.

    Returns:
        NaN for ``mean`` and ``nearest`` where there is no training clip but the clip itself.
    """
    chosen = torch.linspace(0, len(training) - 1, min(most, len(training))).round().long()
    found = [_Neighbours() for _ in truths]
    for video in chosen.tolist():
        clip = training.whole(video)
        for truth, neighbours in zip(truths, found, strict=True):
            if training.paths[video].resolve() != truth.path.resolve():
                neighbours.look_at(clip, truth.clip)
    return [_scores_of(*pair) for pair in zip(truths, found, strict=True)]


def _scores_of(truth: TrueClip, neighbours: _Neighbours) -> dict[str, float]:
    views = truth.views
    answers: dict[str, Tensor | None] = {
        "grey": torch.full_like(views, GREY),
        "input": input_in_every_view(truth.clip.condition, views),
        "mean": None,
        "nearest": None,
    }
    if neighbours.total is not None and neighbours.nearest is not None:
        answers["mean"] = unpack_tile((neighbours.total / neighbours.count).float())
        answers["nearest"] = unpack_tile(neighbours.nearest)
    scores = {}
    for name, answer in answers.items():
        shown = torch.full_like(views, float("nan")) if answer is None else answer
        for figure, value in reference_scores(shown, views, truth.box).items():
            scores[f"{figure}_{name}"] = value
    return scores


def input_in_every_view(condition: Tensor, views: Tensor) -> Tensor:
    """The input pictures [Tc, 3, S, S'] as an answer [T, 6, 3, h, w], sized like ``views``.

    One picture stands for all frames.
    """
    size = (views.shape[-2], views.shape[-1])
    small = interpolate(condition, size, mode="bilinear", antialias=True, align_corners=False)
    shown = small.expand(len(views), -1, -1, -1)
    return shown.unsqueeze(1).expand(-1, VIEWS, -1, -1, -1)
