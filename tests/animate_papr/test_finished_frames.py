"""Frames that are finished, that only look so, and frames of a run that is trained longer."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kill_runs import logged_steps
from refusals import assert_refused
from tiny_animation import arguments, write_animation
from torch import Tensor

from animate_papr import render, train
from animate_papr.finished_frames import is_whole, last_checkpoint
from animate_papr.sequence import load_sequence
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError

SHORT = ("first.steps=6", "next.steps=4", "log.checkpoint_every=2", "next.align.steps=2")
NAMES = ("frame_000", "frame_001", "frame_002")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_animation(tmp_path_factory.mktemp("data") / "sphere")


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a short finished run of two frames; for reading only."""
    output = tmp_path_factory.mktemp("runs")
    assert animate(dataset, output) == 0
    return output


def asked(dataset: Path, output: Path, *more: str, frames: int = 2) -> list[str]:
    chosen = f"frames=[{','.join(NAMES[:frames])}]"
    return arguments(dataset, output, *SHORT, chosen, *more)


def animate(dataset: Path, output: Path, *more: str, frames: int = 2) -> int:
    return train.main(asked(dataset, output, *more, frames=frames))


def folder(output: Path, frame: int, name: str = "tiny") -> Path:
    return output / "animate_papr" / name / "frames" / NAMES[frame]


def tensors(output: Path, frame: int, name: str = "tiny") -> dict[str, Tensor]:
    saved = CheckpointStore(folder(output, frame, name) / "checkpoints").load()
    assert saved is not None
    return saved.tensors


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "runs", ignore=lambda *_: [".lock"]))


def damage_the_last_checkpoint(frame: Path) -> None:
    path = frame / "checkpoints" / "step_00000006" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def remove_the_last_checkpoint(frame: Path) -> None:
    shutil.rmtree(frame / "checkpoints" / "step_00000006")


def forget_the_figures(frame: Path) -> None:
    (frame / "metrics.json").write_text("{}")


def write_text_for_a_figure(frame: Path) -> None:
    figures = json.loads((frame / "metrics.json").read_text())
    (frame / "metrics.json").write_text(json.dumps(figures | {"psnr": "high"}))


def cut_the_figures(frame: Path) -> None:
    text = (frame / "metrics.json").read_text()
    (frame / "metrics.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_the_last_checkpoint, "of its last step, 6, is damaged or gone"),
        (remove_the_last_checkpoint, "of its last step, 6, is damaged or gone"),
        (forget_the_figures, "metrics.json has no psnr, seconds, cpu_seconds, steps"),
        (write_text_for_a_figure, "metrics.json has no psnr"),
        (cut_the_figures, ""),
    ],
)
def test_a_damaged_frame_is_not_whole(
    own: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], words: str
) -> None:
    frame = folder(own, 0)
    assert is_whole(frame)
    damage(frame)
    assert not is_whole(frame)
    assert words in caplog.text


@pytest.mark.parametrize("damage", [damage_the_last_checkpoint, forget_the_figures])
def test_a_damaged_frame_is_finished_again_with_the_same_bits(
    dataset: Path, finished: Path, own: Path, damage: Callable[[Path], None]
) -> None:
    """And the frame after it, of which nothing was there, is what it would have been."""
    damage(folder(own, 0))
    shutil.rmtree(folder(own, 1))
    assert animate(dataset, own) == 0
    for frame in (0, 1):
        assert_same(tensors(own, frame), tensors(finished, frame))
    figures = [json.loads((folder(o, 0) / "metrics.json").read_text()) for o in (own, finished)]
    assert figures[0]["psnr"] == figures[1]["psnr"]
    summary = json.loads((own / "animate_papr" / "tiny" / "metrics.json").read_text())
    assert len(summary["frames"]) == 2


def test_an_earlier_step_is_not_the_result_of_a_finished_frame(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert last_checkpoint(folder(own, 0)).step == 6
    damage_the_last_checkpoint(folder(own, 0))
    run = own / "animate_papr" / "tiny"
    with pytest.raises(InputError, match=r"frame_000: the checkpoint of its last step, 6, is dam"):
        load_sequence(run).model(0.0)
    assert_refused(render.main, [f"run={run}"], capsys, "finishes the frame again, from step 4")


def test_a_checkpoint_of_another_network_is_one_line(
    dataset: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = own / "animate_papr" / "tiny"
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("unet_base: 8", "unet_base: 16"))
    shutil.rmtree(folder(own, 1))
    other = asked(dataset, own, "model.unet_base=16")
    said = assert_refused(train.main, other, capsys, str(folder(own, 0)), "does not fit")
    assert len(said) < 700


def test_more_steps_for_later_frames_go_on_where_they_are(
    dataset: Path, finished: Path, tmp_path: Path
) -> None:
    source = finished / "animate_papr" / "tiny"
    more = (f"extend={source}", "next.steps=6")
    assert animate(dataset, tmp_path, *more) == 0
    assert_same(tensors(tmp_path, 0), tensors(finished, 0))
    steps = (folder(tmp_path, 1) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    before = (folder(finished, 1) / "metrics.jsonl").read_text().splitlines()
    assert steps[:4] == before, "the log of the first steps is that of the run it extends"
    counts = [int(tensors(o, 1)["optimizer.state.0.step"]) for o in (finished, tmp_path)]
    assert counts == [4, 6], "Adam counts on"


def test_more_steps_for_the_first_frame_start_the_later_ones_from_it(
    dataset: Path, finished: Path, tmp_path: Path
) -> None:
    source = finished / "animate_papr" / "tiny"
    assert animate(dataset, tmp_path, f"extend={source}", "first.steps=8") == 0
    found = [tensors(tmp_path, frame) for frame in (0, 1)]
    name = "model.unet.leave.weight"
    assert not torch.equal(found[0][name], tensors(finished, 0)[name])
    unets = [{n: t for n, t in f.items() if n.startswith("model.unet.")} for f in found]
    assert_same(*unets)


def test_more_frames_start_from_the_last_one(dataset: Path, finished: Path, own: Path) -> None:
    """Of a run of one frame, extended to two: as if both had been asked for at once."""
    shutil.rmtree(folder(own, 1))
    more = (f"extend={own / 'animate_papr' / 'tiny'}", "name=more")
    assert animate(dataset, own, *more) == 0
    for frame in (0, 1):
        assert_same(tensors(own, frame, "more"), tensors(finished, frame))
    shutil.rmtree(own / "animate_papr" / "tiny")
    assert animate(dataset, own, *more) == 0, "the other run is needed no longer"


@pytest.mark.slow
def test_an_extension_that_is_stopped_ends_with_the_same_bits(
    dataset: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = (f"extend={finished / 'animate_papr' / 'tiny'}", "next.steps=8")
    assert animate(dataset, tmp_path / "straight", *more) == 0
    step = Trainer.step

    def stopped(self: Trainer, number: int, *, measure: bool = False) -> dict[str, Tensor]:
        if number == 6:
            signal.raise_signal(signal.SIGTERM)
        return step(self, number, measure=measure)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stopped)
        assert animate(dataset, tmp_path / "stopped", *more) == 75
    assert logged_steps(folder(tmp_path / "stopped", 1))[-1] == 7
    assert animate(dataset, tmp_path / "stopped", *more) == 0
    for frame in (0, 1):
        assert_same(tensors(tmp_path / "stopped", frame), tensors(tmp_path / "straight", frame))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("next.steps=3",), "has made 4 steps; next.steps=3 are fewer"),
        (("first.steps=5",), "has made 6 steps; first.steps=5 are fewer"),
        (("extend=/nowhere",), "extend: /nowhere is no run folder"),
    ],
    ids=["fewer steps later", "fewer steps first", "no run"],
)
def test_an_impossible_extension_is_refused(
    dataset: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keys: tuple[str, ...],
    words: str,
) -> None:
    source = f"extend={finished / 'animate_papr' / 'tiny'}"
    for flag in ((), ("--dry-run",)):
        more = asked(dataset, tmp_path, source, *keys, *flag)
        assert_refused(train.main, more, capsys, words)
    assert not any(tmp_path.iterdir())
