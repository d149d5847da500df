"""Training the depth network: it learns, resumes bit for bit, and says early what is wrong."""

import json
from pathlib import Path

import pytest
import torch
from refusals import assert_refused
from six_spheres import SIDE, write_six
from taken_up import assert_same_when_taken_up

from blender_render.dataset.sixview_depth import read_depth
from sjc_papr import train_depth
from sjc_papr.feed_forward.config import TrainDepthConfig
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.feed_forward.samples import SampleDrawer, read_samples
from sjc_papr.feed_forward.trainer import DepthTrainer
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError, load_config

TINY = (
    "network.size=16",
    "network.guesses=[0.0,0.05,0.1]",
    "network.widths=[8,8,16]",
    "network.coarse_blocks=1",
    "network.heads=2",
    "optimize.batch=2",
    "threads=1",
    "device=cpu",
    "precision=float32",
    "name=tiny",
    "log.validate_every=0",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of one video each, of two assets; for reading only."""
    folder = tmp_path_factory.mktemp("six")
    write_six(folder / "train" / "ball", "a")
    write_six(folder / "val" / "other", "b")
    write_six(folder / "flat", "c", depth=False)
    return folder


def command(data: Path, output: Path, *more: str) -> list[str]:
    return [*TINY, f"data.paths=[{data / 'train'}]", f"output_root={output}", *more]


def test_it_learns_and_writes_what_it_learned(data: Path, tmp_path: Path) -> None:
    more = ("optimize.steps=60", "optimize.rate=1e-2", "log.every=1", "log.validate_every=30")
    val = f"data.val_paths=[{data / 'val'}]"
    assert train_depth.main(command(data, tmp_path, *more, val)) == 0
    run = tmp_path / "train_depth" / "tiny"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [line["train/error"] for line in lines if "train/error" in line]
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])
    assert [line["step"] for line in lines if "val/error" in line] == [30, 60]
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["moments"] == 2 and figures["assets"] == 1
    assert set(figures["val_errors"]) == {"other/0", "other/1"}
    assert all(e["network"] < e["hull"] for e in figures["val_errors"].values())
    network, saved = DEPTH_FILES.read(run / "network"), CheckpointStore(run / "checkpoints").load()
    assert saved is not None
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, saved.tensors[f"ema.{name}"].half().float()), name


def test_a_run_that_is_taken_up_again_is_the_same_to_the_last_bit(
    data: Path, tmp_path: Path
) -> None:
    config = load_config(TrainDepthConfig, None, command(data, tmp_path, "optimize.steps=6"))
    samples = read_samples(config.data.paths, config.network)

    def trainer() -> DepthTrainer:
        return DepthTrainer(config, SampleDrawer(samples, True, config.seed), tmp_path)

    assert_same_when_taken_up(trainer, tmp_path)


def test_every_asset_is_drawn_as_often(data: Path) -> None:
    config = load_config(TrainDepthConfig, None, [*TINY])
    samples = read_samples([str(data / "train"), str(data / "val")], config.network)
    many = [*samples[:2], samples[0], samples[1], samples[2]]
    drawer = SampleDrawer(many, True, 0)
    drawn = [sample.sha256 for step in range(60) for sample in drawer.draw(step, 2)]
    assert 40 < drawn.count("b") < 80
    again = [sample.sha256 for step in range(60) for sample in drawer.draw(step, 2)]
    assert drawn == again


def test_depth_is_read_as_it_was_written(data: Path) -> None:
    depth = read_depth(data / "train" / "ball", [0, 1])
    assert depth.shape == (6, 2, SIDE, SIDE)
    assert 1.4 < float(depth[depth > 0].min()) < 1.5
    with pytest.raises(InputError, match="without depth"):
        read_depth(data / "flat", [0])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.paths=[]", "which six-view videos"),
        ("data.paths=[nowhere]", "nowhere: does not exist"),
        ("data.paths=[{data}/flat]", "without depth"),
        ("data.val_paths=[{data}/train]", "is among those"),
        ("network.widths=[8,8,12]", "widths"),
        ("network.size=20", "multiple of 8"),
        ("optimize.stpes=3", "stpes"),
    ],
)
def test_what_cannot_be_trained_ends_with_one_line_and_2(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    arguments = command(data, tmp_path, override.format(data=data), "--dry-run")
    assert_refused(train_depth.main, arguments, capfd, said)


def test_dry_run_says_what_it_would_do(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train_depth.main(command(data, tmp_path, "--dry-run")) == 0
    assert "2 moments of 1 assets at 16 px" in capfd.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_depth_network_is_trained_longer(data: Path, tmp_path: Path) -> None:
    assert train_depth.main(command(data, tmp_path, "optimize.steps=2")) == 0
    source = f"extend={tmp_path / 'train_depth' / 'tiny'}"
    keys = (source, "name=longer", "optimize.steps=4", "log.every=1")
    assert train_depth.main(command(data, tmp_path, *keys)) == 0
    run = tmp_path / "train_depth" / "longer"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4]
    saved = CheckpointStore(run / "checkpoints").load()
    assert saved is not None and int(saved.tensors["optimizer.state.0.step"]) == 4
