"""Losses on views without an image in the frame loop: where they act, and that they resume."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import assert_refused
from tiny_animation import FRAMES, arguments, assert_same_checkpoint, write_animation
from tiny_prior import awake

from animate_papr import novel_terms, train
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.prior.score_model import PRIOR_FILES
from sjc_papr.training.trainer import Trainer

FIRST, NEXT = 6, 8
SHORT = (
    f"first.steps={FIRST}",
    f"next.steps={NEXT}",
    "next.align.steps=0",
    "log.every=100",
)
TERMS = ("sjc", "near", "smooth", "outside")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animation(tmp_path_factory.mktemp("data") / "sphere")


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, network = tmp_path_factory.mktemp("prior"), awake()
    PRIOR_FILES.save(folder, network, network.state_dict(), {})
    return folder


def all_terms(frames: str, prior: Path) -> list[str]:
    """Overrides for ``frames``: first or next."""
    values = (
        "resolutions=[12]",
        "sjc.weight=0.5",
        f"sjc.score.prior={prior}",
        "sjc.ramp_share=0",
        "near.weight=1",
        "smooth.weight=0.1",
        "smooth.alpha_threshold=0",
        "silhouette.outside=1",
        "silhouette.resolution=16",
        "balance.kind=gradient_norm",
        "watch.restarts=1",
    )
    return [f"novel.{frames}.{value}" for value in values]


def run_of(output: Path) -> Path:
    return output / "animate_papr" / "tiny" / "frames"


def terms_logged(frame: Path) -> set[str]:
    lines = (frame / "metrics.jsonl").read_text().splitlines()
    return {name for line in lines for name in json.loads(line) if name.startswith("loss/")}


@pytest.mark.parametrize("frames", ["first", "next"])
def test_first_and_later_frames_are_switched_by_themselves(
    dataset: Path, prior: Path, tmp_path: Path, frames: str
) -> None:
    more = (*SHORT, "log.every=1", "frames=[frame_000,frame_001]", *all_terms(frames, prior))
    assert train.main(arguments(dataset, tmp_path, *more)) == 0
    logged = [terms_logged(run_of(tmp_path) / frame) for frame in FRAMES[:2]]
    for index, own in enumerate(logged):
        on = index == ("first", "next").index(frames)
        assert {f"loss/{term}" in own for term in TERMS} == {on}


def test_without_weights_nothing_is_made_and_no_bit_differs(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (*SHORT, "frames=[frame_000,frame_001]")
    assert train.main(arguments(dataset, tmp_path / "without", *more)) == 0

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made although nothing has a weight")

    monkeypatch.setattr(NovelViews, "__init__", refuse)
    off = ("novel.first.resolutions=[32]", "novel.next.near.mode=paired_l1")
    assert train.main(arguments(dataset, tmp_path / "off", *more, *off)) == 0
    for frame, steps in zip(FRAMES[:2], (FIRST, NEXT), strict=True):
        folders = [run_of(tmp_path / name) / frame for name in ("without", "off")]
        assert_same_checkpoint(*folders, steps)


def test_the_terms_move_the_points_that_a_later_frame_trains(dataset: Path, tmp_path: Path) -> None:
    short = (*SHORT, "frames=[frame_000,frame_001]", "next.preset=motion", "next.motion_share=1")
    smooth = ("resolutions=[12]", "smooth.weight=10", "smooth.alpha_threshold=0")
    more = [f"novel.next.{value}" for value in smooth]
    assert train.main(arguments(dataset, tmp_path / "without", *short)) == 0
    assert train.main(arguments(dataset, tmp_path / "with", *short, *more)) == 0
    first, second = (
        [
            (run_of(tmp_path / name) / frame / "points.safetensors").read_bytes()
            for name in ("without", "with")
        ]
        for frame in FRAMES[:2]
    )
    assert first[0] == first[1]
    assert second[0] != second[1]


class PowerCutError(Exception):
    """Ends a run at a step, as a lost machine would."""


def test_a_run_cut_off_twice_ends_with_the_same_bits(
    dataset: Path, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = [*all_terms("first", prior), *all_terms("next", prior)]
    more = (*SHORT, "log.checkpoint_every=3", "frames=[frame_000,frame_001]", *terms)
    assert train.main(arguments(dataset, tmp_path / "whole", *more)) == 0

    whole_step = Trainer.step
    for total, cut in ((FIRST, 4), (NEXT, 5)):

        def step(
            self: Trainer, at: int, *, total: int = total, cut: int = cut, **options: Any
        ) -> Any:
            if self.steps == total and at == cut:
                raise PowerCutError
            return whole_step(self, at, **options)

        monkeypatch.setattr(Trainer, "step", step)
        with pytest.raises(PowerCutError):
            train.main(arguments(dataset, tmp_path / "cut", *more))
    monkeypatch.setattr(Trainer, "step", whole_step)
    assert train.main(arguments(dataset, tmp_path / "cut", *more)) == 0
    for frame, steps in zip(FRAMES[:2], (FIRST, NEXT), strict=True):
        folders = [run_of(tmp_path / name) / frame for name in ("cut", "whole")]
        assert_same_checkpoint(*folders, steps)


def test_a_score_model_is_loaded_once_for_frames_that_share_it(
    dataset: Path, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, score_of = [], novel_terms.score_of

    def counting(*given: Any) -> Any:
        loaded.append(given)
        return score_of(*given)

    monkeypatch.setattr(novel_terms, "score_of", counting)
    both = [*all_terms("first", prior), *all_terms("next", prior)]
    assert train.main(arguments(dataset, tmp_path, *SHORT, *both)) == 0
    assert len(loaded) == 1


def test_points_outside_the_hull_are_dropped_where_asked(dataset: Path, tmp_path: Path) -> None:
    short = ("first.steps=4", "frames=[frame_000]", "points.init=cube", "points.count=200")
    more = ("first.density.hull_events=1", "first.density.prune_from=0.5")
    assert train.main(arguments(dataset, tmp_path, *short, *more)) == 0
    figures = json.loads((run_of(tmp_path) / FRAMES[0] / "metrics.json").read_text())
    assert 0 < figures["num_points"] < 200


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("novel.near.weight=1", "novel.near"),
        ("novel.next.near.wieght=1", "wieght"),
        ("novel.next.sjc.weight=1", "sjc.score.prior is missing"),
        ("novel.first.near.weight=1 novel.first.targets.radius_min=0.1", "radius_min"),
    ],
)
def test_wrong_settings_end_before_any_work(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dry: list[str],
    override: str,
    names: str,
) -> None:
    more = (*override.split(), *dry)
    assert_refused(train.main, arguments(dataset, tmp_path, *more), capsys, names)
    assert not any(tmp_path.iterdir())


def test_dry_run_names_the_terms(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("novel.next.smooth.weight=0.5", "novel.next.every=4", "--dry-run")
    assert train.main(arguments(dataset, tmp_path, *more)) == 0
    said = capsys.readouterr().out
    assert "each later frame: every 4 steps a view without a picture" in said
    assert "first frame: every" not in said
