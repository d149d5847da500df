"""The training command: what it writes, how it continues, what it refuses, what it plans."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from kill_runs import beyond, end_when
from PIL import Image
from refusals import assert_refused
from small_command import command
from torch import Tensor

from mnvs import train
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint
from mnvs.checkpoints.unet_loading import load_unet
from mnvs.config import TrainConfig
from mnvs.inference.pipeline import MNVSPipeline
from mnvs.lora.adapters import Lora
from mnvs.training.devices import make_accelerator
from mnvs.training.resources import describe, estimate
from training_core.checkpoint import CheckpointStore
from training_core.cli import EXIT_STOPPED
from training_core.config import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(
    tiniest: TinyCheckpoint, videos: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of a short training of adapters; for reading only."""
    output = tmp_path_factory.mktemp("runs")
    assert train.main(command(tiniest, videos, output)) == 0
    return output / "mnvs" / "small"


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(run: Path) -> dict[str, Tensor]:
    saved = CheckpointStore(run / "checkpoints").load()
    assert saved is not None
    return saved.tensors


def test_what_a_run_leaves_behind(trained: Path) -> None:
    figures = json.loads((trained / "metrics.json").read_text())
    assert figures["steps"] == 4 and figures["seconds"] > 0 and figures["cpu_seconds"] > 0
    assert figures["peak_memory_bytes"] > 1 << 20
    assert {"psnr", "ssim", "motion_ratio", "motion_correlation", "psnr_still"} <= figures.keys()
    assert list(figures["clips"]) == ["0_dots_0", "1_dots_1"]
    for name in figures["clips"]:
        with Image.open(trained / "images" / f"{name}.png") as picture:
            assert picture.size == (3 * 32, 2 * 48)
    lines = lines_of(trained)
    assert [line["step"] for line in lines if "val/psnr" in line] == [0, 2, 4]
    assert all(f"val/psnr_view_{i}" in lines[0] for i in range(6))
    steps = [line for line in lines if "loss/total" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert all(line["seconds_per_step"] > 0 for line in steps)
    assert any((trained / "tensorboard").iterdir())


def test_the_last_line_says_what_needs_no_network() -> None:
    scores = {"psnr": 21.412, "psnr_grey": 21.533, "psnr_still": 23.3}
    assert train.quality(scores) == "PSNR 21.41 dB (psnr_grey 21.53, psnr_still 23.30)"
    assert train.quality({"psnr": 3.0, "psnr_grey": float("nan")}) == "PSNR 3.00 dB"


def test_the_adapter_gives_back_the_trained_network(
    trained: Path, tiniest: TinyCheckpoint, tmp_path: Path
) -> None:
    unet = load_unet(tiniest.zero123plus, tiniest.svd)
    lora = Lora.load(unet, trained / "lora")
    saved = {n: t for n, t in weights_of(trained).items() if n.startswith("trained.")}
    assert {f"trained.{n}" for n in lora.named_parameters()} == set(saved)
    for name, parameter in lora.named_parameters().items():
        assert torch.equal(parameter, saved[f"trained.{name}"]), name
    assert any(t.abs().max() > 0 for n, t in saved.items() if "lora_B" in n)


def test_validation_is_the_same_every_time(trained: Path) -> None:
    lines = lines_of(trained)
    last = next(line for line in lines if line["step"] == 4 and "val/psnr" in line)
    figures = json.loads((trained / "metrics.json").read_text())
    assert figures["psnr"] == last["val/psnr"]


def test_a_finished_run_is_left_as_it_is(
    trained: Path, tiniest: TinyCheckpoint, videos: list[Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "mnvs" / "small"))
    before = (run / "lora" / "adapter_model.safetensors").read_bytes(), lines_of(run)
    assert train.main(command(tiniest, videos, tmp_path)) == 0
    assert (run / "lora" / "adapter_model.safetensors").read_bytes() == before[0]
    assert lines_of(run) == before[1]


@pytest.mark.slow
def test_a_run_ended_by_signals_ends_with_the_same_bits(
    trained: Path, tiniest: TinyCheckpoint, videos: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "mnvs" / "small"
    arguments = command(tiniest, videos, tmp_path)
    for step, number in ((1, signal.SIGTERM), (3, signal.SIGKILL)):
        status = end_when("mnvs.train", arguments, beyond(run, step), number)
        assert status == (EXIT_STOPPED if number == signal.SIGTERM else -signal.SIGKILL)
    assert train.main(arguments) == 0
    straight, resumed = weights_of(trained), weights_of(run)
    for name, tensor in straight.items():
        if not name.startswith("rng."):
            assert torch.equal(tensor, resumed[name]), name
    figures = [json.loads((r / "metrics.json").read_text()) for r in (trained, run)]
    assert figures[0]["psnr"] == figures[1]["psnr"]


def test_full_training_writes_a_pipeline(
    tiniest: TinyCheckpoint,
    videos: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    more = ("train.parameters=full", "train.ema=0.5", "data.condition=video", "validation.every=4")
    cached = tmp_path / "cache"
    caplog.set_level("INFO")
    assert train.main(command(tiniest, videos, tmp_path, *more, f"data.cache={cached}")) == 0
    run = tmp_path / "mnvs" / "small"
    assert "Writing model shards" not in capfd.readouterr().err
    scores = json.loads((run / "metrics.json").read_text())
    assert caplog.messages[-1] == f"{train.quality(scores)}: {run / 'pipeline'}"
    assert len(list(cached.rglob("*.safetensors"))) == 2
    pipeline = MNVSPipeline.from_pretrained(run / "pipeline")
    averages = weights_of(run)
    for name, parameter in pipeline.unet.named_parameters():
        key = f"ema.{name}"
        if key in averages:
            assert torch.equal(parameter, averages[key]), name

    # Training goes on from there, with adapters.
    again = [
        f"model.pipeline={run / 'pipeline'}",
        'model.zero123plus=""',
        'model.temporal_source=""',
        "name=again",
        "train.steps=1",
        "validation.every=0",
    ]
    assert train.main([*command(tiniest, videos, tmp_path), *again, "--dry-run"]) == 0
    assert train.main([*command(tiniest, videos, tmp_path), *again]) == 0
    figures = json.loads((tmp_path / "mnvs" / "again" / "metrics.json").read_text())
    assert figures["steps"] == 1 and "psnr" not in figures
    Lora.load(pipeline.unet, tmp_path / "mnvs" / "again" / "lora")


def test_full_training_starts_from_the_weights_as_they_are(
    tiniest: TinyCheckpoint, videos: list[Path], tmp_path: Path
) -> None:
    """In bfloat16 too: a rounded master would stay rounded."""
    more = ["train.parameters=full", "precision=bf16", "model.temporal_start=svd"]
    config = load_config(TrainConfig, None, command(tiniest, videos, tmp_path, *more))
    accelerator = make_accelerator(config.device, config.precision)
    pipeline = train.make_pipeline(config, accelerator)
    trainer = train.make_trainer(config, accelerator, pipeline, tmp_path)
    source = MNVSPipeline.from_sources(tiniest.zero123plus, tiniest.svd, temporal_start="svd")
    exact = source.unet.state_dict()
    assert trainer.parameters and not all(
        torch.equal(exact[n], exact[n].bfloat16().float()) for n in trainer.parameters
    )
    saved = train.export(config, trainer, pipeline, tmp_path)
    again = MNVSPipeline.from_pretrained(saved)
    for part in ("unet", "vae", "vision_encoder", "empty_prompt"):
        wanted, found = (getattr(p, part).state_dict() for p in (source, again))
        assert wanted.keys() == found.keys()
        for name, tensor in wanted.items():
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    # The first step is in bfloat16 all the same, and trains in single precision.
    assert trainer.step(0)["loss/total"].isfinite()
    assert {p.dtype for p in pipeline.unet.parameters()} == {torch.float32}


def test_another_config_does_not_continue_a_run(
    trained: Path,
    tiniest: TinyCheckpoint,
    videos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained, tmp_path / "mnvs" / "small")
    assert_refused(
        train.main,
        command(tiniest, videos, tmp_path, "train.lora.alpha=3"),
        capsys,
        "train.lora.alpha",
    )


def test_dry_run_writes_nothing(
    tiniest: TinyCheckpoint,
    videos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train.main([*command(tiniest, videos, tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 videos, 10 frames" in said and "LoRA temporal, rank 2" in said
    assert "latents 8x12" in said and "one CPU thread" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["zero123plus_svd", "zero123plus_svd_14", "zero123plus_svd_full", "tiny"]
)
def test_shipped_configs_are_read(name: str) -> None:
    config = load_config(TrainConfig, ROOT / "configs" / "mnvs" / f"{name}.yaml", [])
    assert config.name == name


def test_full_size_estimates_follow_the_measured_table() -> None:
    config = load_config(TrainConfig, ROOT / "configs" / "mnvs" / "zero123plus_svd.yaml", [])
    found = estimate(config.model, config.data, config.train, precision=config.precision)
    assert found.parameters == pytest.approx(1.5267e9, rel=1e-3)
    assert found.modules == 160 and found.mix_factors == 38
    assert 14.0 < found.total_gib < 16.0
    assert found.weights_gib == pytest.approx(2.9, abs=0.1)
    # Four videos a step: 91 TFLOP each by the table.
    assert found.operations == pytest.approx(4 * 91, rel=0.08)
    text = describe(config.data, config.train, found)
    assert "not on this machine" in text and "V100 32 GB (fp16)    yes" in text


def test_spread_weights_take_their_share_of_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "configs" / "mnvs" / "zero123plus_svd_full.yaml"
    config = load_config(TrainConfig, path, [])
    one, four = (estimate(config.model, config.data, config.train, processes=n) for n in (1, 4))
    # Weight, gradient, two moments and average: 20 bytes a number; and what layers need whole.
    assert one.training_gib == pytest.approx(20 * one.trained / 2**30, rel=1e-6)
    assert one.training_gib / 4 < four.training_gib < one.training_gib / 3
    text = describe(config.data, config.train, four)
    assert "1 video(s) at once, spread over 4" in text and "A100 40 GB           yes" in text
    assert "V100 32 GB (fp16)    no" in text, "fp16 is not to be had with them"
    assert "one process has all" in describe(config.data, config.train, one)


def test_animatediff_trains_likewise(
    tiniest: TinyCheckpoint,
    videos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = [
        "model.temporal=animatediff",
        f"model.temporal_source={tiniest.animatediff}",
        "train.steps=1",
        "validation.every=1",
        "train.gradient_checkpointing=true",
    ]
    arguments = command(tiniest, videos, tmp_path, *more)
    assert train.main([*arguments, "--dry-run"]) == 0
    assert "LoRA temporal, rank 2" in capsys.readouterr().out
    assert train.main(arguments) == 0
    unet = load_unet(tiniest.zero123plus, tiniest.animatediff, "animatediff")
    lora = Lora.load(unet, tmp_path / "mnvs" / "small" / "lora")
    assert all(".motion_modules." in name for name in lora.modules)


def test_a_run_is_trained_longer(
    trained: Path, tiniest: TinyCheckpoint, videos: list[Path], tmp_path: Path
) -> None:
    made = CheckpointStore(trained / "checkpoints").load()
    assert made is not None
    keys = (f"extend={trained}", f"train.steps={made.step + 1}", "validation.every=0")
    assert train.main(command(tiniest, videos, tmp_path, *keys)) == 0
    saved = CheckpointStore(tmp_path / "mnvs" / "small" / "checkpoints").load()
    assert saved is not None and saved.step == made.step + 1
    assert int(saved.tensors["optimizer.state.0.step"]) == made.step + 1
    assert (tmp_path / "mnvs" / "small" / "lora").is_dir()
