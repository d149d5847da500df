"""Losses on views without an image, frame by frame, as ``sjc_papr.train`` has them."""

from animate_papr.config import AnimateConfig, FrameNovelConfig
from animate_papr.frame_data import FrameTask
from blender_render.dataset.readers import Views
from sjc_papr.networks.model import Papr
from sjc_papr.novel_view.from_options import (
    check_novel,
    check_score_of,
    describe_novel,
    make_novel,
    score_of,
)
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.score_models.base import ScoreModel


class NovelTerms:
    """Makes each frame's losses; a score model that frames share is loaded once."""

    def __init__(self, config: AnimateConfig) -> None:
        self.config = config
        self._scores: dict[str, ScoreModel | None] = {}

    def of_frame(self, task: FrameTask, model: Papr, steps: int, seed: int) -> NovelViews | None:
        """The losses of a frame that trains for ``steps``; None where no term has a weight.

        Raises:
            ConfigError, InputError: see ``check_terms`` and ``check_scores``.
        """
        novel = self.config.novel.of_frame(task.index)
        if not novel.on:
            return None
        check_novel(novel, task.train.cameras)
        wanted = f"{novel.object_length} {novel.sjc.score}" if novel.sjc.weight else ""
        if wanted not in self._scores:
            self._scores[wanted] = score_of(novel, model.points.positions.device)
        return make_novel(
            novel,
            model,
            task.train,
            self._scores[wanted],
            background=self.config.data.grey,
            precision=self.config.precision,
            steps=steps,
            seed=seed,
        )


def check_terms(config: FrameNovelConfig, views: Views) -> None:
    """Raises ConfigError where the terms cannot work with these training views of the run's world;
    every frame is expected to have cameras like the first.
    """
    for index in (0, 1):
        check_novel(config.of_frame(index), views.cameras)


def check_scores(config: FrameNovelConfig) -> None:
    """Raises ConfigError or InputError where a score model is asked for and is not there."""
    for index in (0, 1):
        check_score_of(config.of_frame(index))


def describe_terms(config: FrameNovelConfig) -> list[str]:
    """Lines for ``--dry-run``; none where no term is on."""
    named = (("first frame", config.first), ("each later frame", config.next))
    return [f"{frame}: {line}" for frame, novel in named for line in describe_novel(novel)]
