"""What the training command refuses, before any work and in one line."""

import sys
from pathlib import Path

import pytest
from moving_dots import write_dots
from refusals import assert_refused
from small_command import command

from mnvs import train
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.view_size=18"], "data.view_size=18 is no multiple of the VAE's 4"),
        (["validation.steps=2000"], "validation.steps=2000: there are 1000 levels"),
        (["animatediff", "data.frames=33"], "data.frames=33: the motion modules take 32"),
        (["pipeline={tiny}"], "'UNet2DConditionModel' is not one of: MNVSUNet"),
        (["pipeline=/no/where"], "/no/where: no such folder"),
        (["pipeline=p", "model.temporal=animatediff"], "temporal goes with zero123plus"),
        (["pipeline=p", "model.temporal_start=svd"], "temporal_start goes with zero123plus"),
        (["pipeline=p", "data.rig=v1.2"], "data.rig goes with model.zero123plus"),
        (["model.temporal_source=./nowhere"], "./nowhere: no such folder"),
        (["model.temporal_source={dots}"], "no config.json here nor in unet/"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value).split("/")[0],
)
def test_runs_that_cannot_be_are_refused_in_one_line(
    tiniest: TinyCheckpoint,
    videos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    said: str,
    dry: list[str],
) -> None:
    more = []
    for override in overrides:
        filled = override.format(tiny=tiniest.zero123plus, dots=videos[0])
        if filled == "animatediff":
            source = f"model.temporal_source={tiniest.animatediff}"
            long = write_dots(tmp_path / "data" / "long", frames=33)
            more += ["model.temporal=animatediff", source, f"data.paths=[{long}]"]
        elif filled.startswith("pipeline="):
            more += [f"model.{filled}", 'model.zero123plus=""', 'model.temporal_source=""']
        else:
            more.append(filled)
    runs = tmp_path / "runs"
    assert_refused(train.main, [*command(tiniest, videos, runs, *more), *dry], capsys, said)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.step=3", "train.steps"),
        ("train.lora.mode=crossattn", "noxattn"),
        ("train.steps=many", "train.steps"),
        ("model.temporal_start=off", "temporal_start"),
        ("data.paths=[]", "data.paths"),
        ("data.paths=[/nowhere/at/all]", "/nowhere/at/all"),
        ("validation.paths=[/nowhere/else]", "/nowhere/else"),
        ("data.frames=9", "has 5 frames"),
        ("model.zero123plus=/no/such/checkpoint", "/no/such/checkpoint"),
        ('model.zero123plus=""', "which checkpoint"),
        ("train.accumulate=2 train.batch=3", "accumulate"),
        ("precision=fp16", "fp16"),
        ("train.shard=true", "parameters=full"),
        ("model.pipeline=/some/where", "not both"),
        ("train.optimizer.kind=adamw8bit", "bitsandbytes"),
        ("precision=bf16 data.frames=2", "two frames"),
    ],
)
def test_wrong_values_end_before_any_work(
    tiniest: TinyCheckpoint,
    videos: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    said: str,
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    asked = command(tiniest, videos, tmp_path, *override.split())
    assert_refused(train.main, asked, capsys, said)
    assert not any(tmp_path.iterdir())
