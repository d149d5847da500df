"""Training the small prior: it learns, resumes bit for bit, and says early what is wrong."""

import itertools
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import assert_refused
from safetensors.torch import load_file
from tiny_scene import write_frame
from torch import Tensor

from sjc_papr import train_prior
from sjc_papr.prior.config import PriorOptimizeConfig, TrainPriorConfig
from sjc_papr.prior.score_model import PRIOR_FILES, PixelPrior
from training_core.checkpoint import CheckpointStore
from training_core.cli import EXIT_STOPPED
from training_core.step.guards import TrainingFault

TINY = (
    "network.size=16",
    "network.patch=4",
    "network.width=16",
    "network.multipliers=[1,2]",
    "network.heads=2",
    "optimize.batch=4",
    "threads=1",
    "device=cpu",
    "precision=float32",
    "name=tiny",
    "log.validate_every=0",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames, of spheres in different places; for reading only."""
    folder = tmp_path_factory.mktemp("prior") / "sphere"
    for number, x in ((0, 0.0), (1, 0.3)):
        write_frame(folder / f"frame_{number:03d}", (x, 0.0, 0.0))
    return folder


def command(dataset: Path, output: Path, *more: str) -> list[str]:
    return [*TINY, f"data.paths=[{dataset}]", f"output_root={output}", *more]


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a short training; for reading only."""
    output = tmp_path_factory.mktemp("runs")
    more = ("optimize.steps=150", "optimize.rate=2e-3", "log.every=1", "log.validate_every=75")
    assert train_prior.main(command(dataset, output, "data.skip_frames=[0]", *more)) == 0
    return output / "train_prior" / "tiny"


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_loss_falls_and_everything_is_written(trained: Path) -> None:
    losses = [line["loss/total"] for line in lines_of(trained) if "loss/total" in line]
    assert len(losses) == 150
    assert sum(losses[-50:]) < 0.75 * 5 * sum(losses[:10])
    validated = [line for line in lines_of(trained) if "val/psnr_t950" in line]
    assert [line["step"] for line in validated] == [75, 150]
    assert validated[1]["val/psnr_t950"] > validated[0]["val/psnr_t950"]
    figures = json.loads((trained / "metrics.json").read_text())
    assert figures["steps"] == 150 and figures["parameters"] > 1000 and figures["seconds"] > 0.0
    assert [Path(name).name for name in figures["frames"]] == ["frame_001"]


def test_the_averaged_weights_are_the_prior(trained: Path) -> None:
    prior = PixelPrior.load(trained / "prior")
    saved = CheckpointStore(trained / "checkpoints").load()
    assert saved is not None and saved.step == 150
    differ = 0
    for name, tensor in prior.network.state_dict().items():
        assert torch.equal(tensor, saved.tensors[f"ema.{name}"]), name
        differ += not torch.equal(tensor, saved.tensors[f"model.{name}"])
    assert differ > 10, "weights and their average are different things"


def make_trainer(dataset: Path, folder: Path, **optimize: Any) -> train_prior.PriorTrainer:
    config = TrainPriorConfig(device="cpu", precision="float32")
    config.data.paths, config.log.validate_every = [str(dataset)], 0
    network = config.network
    network.size, network.width, network.multipliers, network.heads = 16, 16, [1, 2], 2
    config.optimize = PriorOptimizeConfig(**{"steps": 12, "batch": 3, **optimize})
    frames, _ = train_prior.read_inputs(config)
    return train_prior.PriorTrainer(config, frames, folder)


def finish(trainer: train_prior.PriorTrainer, first: int) -> dict[str, Tensor]:
    for step in range(first, trainer.steps):
        trainer.step(step)
    return trainer.tensors()[0]


@pytest.mark.parametrize("k", [1, 6, 11])
def test_n_steps_equal_k_steps_a_checkpoint_and_the_rest(
    dataset: Path, tmp_path: Path, k: int
) -> None:
    straight = finish(make_trainer(dataset, tmp_path), 0)
    stopped = make_trainer(dataset, tmp_path)
    for step in range(k):
        stopped.step(step)
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(k, *stopped.tensors())
    saved = store.load()
    assert saved is not None
    fresh = make_trainer(dataset, tmp_path)
    torch.nn.init.ones_(fresh.network.stem.weight)
    fresh.ema.averages["stem.weight"].zero_()
    fresh.restore(saved)
    resumed = finish(fresh, k)
    assert resumed.keys() == straight.keys()
    assert any(name.startswith("ema.") for name in straight)
    for name, tensor in straight.items():
        assert torch.equal(resumed[name], tensor), name


def test_a_stopped_command_ends_with_the_same_bits(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("optimize.steps=12", "log.every=1", "log.checkpoint_every=100", "log.validate_every=4")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert train_prior.main(command(dataset, whole, *more)) == 0

    step = train_prior.PriorTrainer.step
    count = itertools.count()

    def until_a_signal(self: train_prior.PriorTrainer, *args: Any, **kw: Any) -> Any:
        if next(count) == 6:
            signal.raise_signal(signal.SIGTERM)
        return step(self, *args, **kw)

    with monkeypatch.context() as patched:
        patched.setattr(train_prior.PriorTrainer, "step", until_a_signal)
        assert train_prior.main(command(dataset, halves, *more)) == EXIT_STOPPED
    assert not (halves / "train_prior" / "tiny" / "prior").exists()
    assert train_prior.main(command(dataset, halves, *more)) == 0
    runs = [folder / "train_prior" / "tiny" for folder in (whole, halves)]
    ours, theirs = (load_file(run / "prior" / PRIOR_FILES.weights_file) for run in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ours, theirs = (
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines_of(run)]
        for run in runs
    )
    assert ours == theirs


def test_validation_leaves_the_training_alone(dataset: Path, tmp_path: Path) -> None:
    for every in (0, 2):
        more = ("optimize.steps=6", f"log.validate_every={every}", f"name=every_{every}")
        assert train_prior.main(command(dataset, tmp_path, *more)) == 0
    ours, theirs = (
        load_file(tmp_path / "train_prior" / f"every_{every}" / "prior" / PRIOR_FILES.weights_file)
        for every in (0, 2)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_average_is_a_running_mean(dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(dataset, tmp_path, ema_decay=0.3)
    expected = trainer.network.stem.bias.detach().clone()
    for step in range(8):
        trainer.step(step)
        decay = min(0.3, (1.0 + step) / (10.0 + step))
        expected = decay * expected + (1.0 - decay) * trainer.network.stem.bias.detach()
    assert torch.allclose(trainer.ema.averages["stem.bias"], expected, atol=1e-6)


def test_dropped_conditions_train_the_unconditional_side(dataset: Path, tmp_path: Path) -> None:
    """With every condition dropped, the images of the condition cannot matter."""
    given = []
    for share in (0.0, 1.0):
        trainer = make_trainer(dataset, tmp_path, drop_condition=share)
        forward = trainer.network.forward
        trainer.network.forward = lambda *x, run=forward: (given.append(x[-1]), run(*x))[1]
        trainer.step(0)
    assert bool((given[0] == 1.0).all()) and bool((given[1] == 0.0).all())


def test_loss_is_zero_for_the_true_v(dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(dataset, tmp_path)
    batch = trainer.sampler.sample(0, 3)
    t, noise = torch.tensor([10, 500, 990]), torch.randn(batch.target.shape)
    sigma = trainer.levels.sigma(t)
    cos = 1.0 / (1.0 + sigma.square()).sqrt()
    trainer.network.forward = lambda *_: cos * noise - sigma * cos * batch.target
    assert trainer.denoising_loss(batch, t, noise, torch.ones(3)).item() < 1e-10


def test_bad_numbers_stop_before_they_reach_a_weight(dataset: Path, tmp_path: Path) -> None:
    trainer = make_trainer(dataset, tmp_path)
    trainer.step(0)
    before = {name: tensor.clone() for name, tensor in trainer.ema.averages.items()}
    with torch.no_grad():
        trainer.network.out[-1].bias[0] = float("nan")
    with pytest.raises(TrainingFault, match="step 1: loss is NaN"):
        trainer.step(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.ema.averages.items())


def test_dry_run_reads_the_data_and_writes_nothing(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert train_prior.main([*command(dataset, output), "--dry-run"]) == 0
    assert "2 frames, 20 views at 16 px" in capsys.readouterr().out
    assert not output.exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("data.paths=[/nowhere/at/all]", "/nowhere/at/all"),
        ("data.paths=[]", "data.paths"),
        ("data.skip_frames=[0,1]", "data.paths"),
        ("network.size=12", "size"),
        ("optimize.step=3", "optimize.step"),
        ("data.zoom_min=2", "zoom_max"),
    ],
)
def test_wrong_keys_and_paths_end_before_any_work(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dry: list[str],
    override: str,
    names: str,
) -> None:
    output = tmp_path / "out"
    assert_refused(train_prior.main, [*command(dataset, output, override), *dry], capsys, names)
    assert not output.exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_damaged_validation_views_are_found_before_any_work(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    broken = Path(shutil.copytree(dataset, tmp_path / "broken"))
    (broken / "frame_001" / "transforms_val.json").write_text("{}")
    output = tmp_path / "out"
    arguments = command(broken, output, "log.validate_every=5", *dry)
    assert_refused(train_prior.main, arguments, capsys, "transforms_val.json")
    assert not output.exists()


def test_poses_of_other_conventions_are_refused_unless_asked_for(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(dataset, tmp_path / "inverted"))
    for file in (broken / "frame_000").glob("transforms_*.json"):
        content = json.loads(file.read_text())
        for entry in content["frames"]:
            pose = np.linalg.inv(np.array(entry["transform_matrix"]))
            entry["transform_matrix"] = pose.tolist()
        file.write_text(json.dumps(content))
    arguments = command(broken, tmp_path / "out", "--dry-run")
    assert_refused(train_prior.main, arguments, capsys, "inverted/frame_000", "data.check=false")
    assert train_prior.main([*arguments, "data.check=false"]) == 0


def test_a_prior_may_start_from_another(trained: Path, dataset: Path, tmp_path: Path) -> None:
    more = ("optimize.steps=1", "optimize.rate=1e-9", f"start_from={trained / 'prior'}")
    assert train_prior.main(command(dataset, tmp_path, *more)) == 0
    before, after = (
        load_file(run / "prior" / PRIOR_FILES.weights_file)
        for run in (trained, tmp_path / "train_prior" / "tiny")
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("wrong", ["network.blocks=2", "start_from=/nowhere/at/all"])
def test_a_start_that_does_not_fit_is_refused(
    trained: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dry: list[str],
    wrong: str,
) -> None:
    output = tmp_path / "out"
    arguments = command(dataset, output, f"start_from={trained / 'prior'}", wrong, *dry)
    assert_refused(train_prior.main, arguments, capsys, "prior")
    assert not output.exists()


def test_a_prior_is_trained_longer(trained: Path, dataset: Path, tmp_path: Path) -> None:
    """Its averaged weights come along."""
    keys = ("data.skip_frames=[0]", f"extend={trained}", "optimize.steps=151", "optimize.rate=1e-9")
    assert train_prior.main(command(dataset, tmp_path, *keys, "name=longer")) == 0
    saved = [
        CheckpointStore(run / "checkpoints").load()
        for run in (trained, tmp_path / "train_prior" / "longer")
    ]
    assert saved[0] is not None and saved[1] is not None
    assert [s.step for s in saved if s] == [150, 151]
    first, longer = (s.tensors for s in saved if s)
    assert torch.allclose(first["model.stem.weight"], longer["model.stem.weight"], atol=1e-5)
    moved = (longer["ema.stem.weight"] - first["ema.stem.weight"]).norm()
    apart = (first["model.stem.weight"] - first["ema.stem.weight"]).norm()
    assert 0.0 < moved < 0.2 * apart, "an average that began anew would be the model"
