"""A trained animation read back: at its frames, between them, unfinished, damaged."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_animation import FRAMES, arguments, one_view, write_animation

import animate_papr.sequence
from animate_papr import train
from animate_papr.sequence import Sequence, load_sequence
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render
from sjc_papr.training.checkpoints import model_from
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError


@pytest.fixture(scope="module")
def animated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short finished run with a UNet that moves too; for reading only."""
    folder = tmp_path_factory.mktemp("sequence")
    dataset = write_animation(folder / "sphere")
    short = ("first.steps=6", "next.steps=5", "next.freeze.renderer=false")
    assert train.main(arguments(dataset, folder, *short)) == 0
    return folder / "animate_papr" / "tiny"


@pytest.fixture(scope="module")
def sequence(animated: Path) -> Sequence:
    return load_sequence(animated)


def test_frames_in_order(sequence: Sequence) -> None:
    assert sequence.frames == list(FRAMES)
    assert sequence.background == 1.0
    assert sequence.dataset_info["world_to_asset"]["scale"] == 2.0


@pytest.mark.parametrize("index", [0, 1, 2])
def test_at_a_frame_the_model_is_its_checkpoint(
    sequence: Sequence, animated: Path, index: int
) -> None:
    saved = CheckpointStore(animated / "frames" / FRAMES[index] / "checkpoints").load()
    assert saved is not None
    for name, tensor in sequence.model(float(index)).state_dict().items():
        assert torch.equal(tensor, saved.tensors[f"model.{name}"]), name


def test_between_frames_every_weight_is_on_the_straight_line(sequence: Sequence) -> None:
    first, second = (sequence.model(i).state_dict() for i in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first if "unet" in name)
    for moment in (0.5, 0.25):
        for name, tensor in sequence.model(moment).state_dict().items():
            expected = (1.0 - moment) * first[name] + moment * second[name]
            assert torch.allclose(tensor, expected, atol=1e-6), name
    with torch.inference_mode():
        assert render(sequence.model(1.5), one_view()).rgb.isfinite().all()


@pytest.mark.parametrize("moment", [-0.01, 2.01, float("nan")])
def test_moments_outside_are_refused(sequence: Sequence, moment: float) -> None:
    with pytest.raises(ValueError, match="outside 0 to 2"):
        sequence.model(moment)


def test_nearer_frame_where_the_number_of_points_differs(animated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(animated, tmp_path / "run"))
    store = CheckpointStore(run / "frames" / FRAMES[1] / "checkpoints")
    saved = store.load()
    assert saved is not None
    fewer = {
        name: tensor[:-10] if name.startswith("model.points.") else tensor
        for name, tensor in saved.tensors.items()
    }
    store.save(saved.step, fewer, saved.state)
    sequence = load_sequence(run)
    counts = [len(sequence.model(moment).points) for moment in (0.4, 0.6, 1.4, 1.6)]
    assert counts == [150, 140, 140, 150]


def test_unfinished_frames_are_left_out(animated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(animated, tmp_path / "run"))
    (run / "frames" / FRAMES[2] / "metrics.json").unlink()
    sequence = load_sequence(run)
    assert sequence.frames == list(FRAMES[:2])
    with pytest.raises(ValueError, match="outside 0 to 1"):
        sequence.model(2.0)


@pytest.mark.parametrize(
    ("damage", "says"),
    [("config.yaml", "not a run folder"), ("frames.json", "training has not begun")],
)
def test_folders_that_are_no_run(animated: Path, tmp_path: Path, damage: str, says: str) -> None:
    run = Path(shutil.copytree(animated, tmp_path / "run"))
    (run / damage).unlink()
    with pytest.raises(InputError, match=says):
        load_sequence(run)


def test_no_finished_frame(animated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(animated, tmp_path / "run"))
    for frame in FRAMES:
        (run / "frames" / frame / "metrics.json").unlink()
    with pytest.raises(InputError, match="no frame is finished"):
        load_sequence(run)


def test_a_frame_whose_checkpoint_is_gone(animated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(animated, tmp_path / "run"))
    shutil.rmtree(run / "frames" / FRAMES[1] / "checkpoints")
    with pytest.raises(InputError, match="no checkpoint"):
        load_sequence(run).model(0.5)


def test_a_dataset_that_has_gone_is_no_hindrance(animated: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(animated, tmp_path / "run"))
    config = run / "config.yaml"
    summary = json.loads((run / "metrics.json").read_text())
    config.write_text(config.read_text().replace(summary["dataset"], "/nowhere"))
    (run / "metrics.json").write_text(json.dumps(summary | {"dataset": "/nowhere"}))
    assert load_sequence(run).dataset_info == {}


def test_frames_are_read_once_and_handed_out_as_copies(
    animated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def count_and_read(*arguments: Any) -> Papr:
        read.append(arguments)
        return model_from(*arguments)

    monkeypatch.setattr(animate_papr.sequence, "model_from", count_and_read)
    sequence = load_sequence(animated)
    first = sequence.model(0.0)
    before = first.points.positions.detach().clone()
    with torch.no_grad():
        first.points.positions.add_(1.0)
    for moment in (0.0, 0.25, 0.5, 1.0):
        sequence.model(moment)
    assert len(read) == 2
    assert torch.equal(sequence.model(0.0).points.positions.detach(), before)
