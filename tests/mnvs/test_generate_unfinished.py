"""Generation from a run that is still training, or was stopped before its end."""

import json
import logging
from pathlib import Path

import pytest
import torch
from small_command import command

from blender_render.dataset.readers import read_sixview
from mnvs import train
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint
from mnvs.config import TrainConfig
from mnvs.generate import find_source, load_pipeline, main
from mnvs.inference.config import GenerateConfig, ModelSourceConfig
from mnvs.training.devices import make_accelerator
from training_core.checkpoint import CheckpointStore, seed_everything
from training_core.cli import EXIT_STOPPED
from training_core.config import load_config, to_yaml
from training_core.stopping import Stopped, StopSignals

# With a constant rate a run of two steps makes the same two as a longer one.
QUICK = (
    *("train.batch=1", "train.optimizer.final=1", "train.optimizer.rate=0.1"),
    *("data.frames=2", "validation.every=0", "log.checkpoint_every=1"),
)
KINDS = {"adapters": (), "network, averaged": ("train.parameters=full", "train.ema=0.5")}


class StopAfterTwo(StopSignals):
    """As if a signal came in the second step."""

    looks = 0

    @property
    def requested(self) -> bool:
        self.looks += 1
        return self.looks > 1

    def raise_if_requested(self) -> None:
        raise Stopped("stopped here")


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of every file."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_an_unfinished_run_generates_as_one_that_ended_there(
    tiniest: TinyCheckpoint,
    dots: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: tuple[str, ...],
) -> None:
    caplog.set_level(logging.INFO)
    short = command(tiniest, [dots], tmp_path, *QUICK, *kind, "train.steps=2", "name=short")
    assert train.main(short) == 0
    runs = tmp_path / "mnvs"
    long = command(tiniest, [dots], tmp_path, *QUICK, *kind, "train.steps=5", "name=long")
    with monkeypatch.context() as patched:
        patched.setattr(train, "StopSignals", StopAfterTwo)
        assert train.main(long) == EXIT_STOPPED
    before = files(runs / "long")
    assert {path.name for path in (runs / "long").iterdir()}.isdisjoint({"lora", "pipeline"})
    options = ["device=cpu", "sampling.steps=2", "videos=false", "sampling.guidance=1"]

    def asked(name: str, target: str) -> list[str]:
        given = dots / "input" / "000.png"
        run = f"model.run={runs / name}"
        return [f"input={given}", f"output={tmp_path / target}", run, *options]

    said = f"{runs / 'long'} is not finished: weights of step 2 of 5"
    assert main([*asked("long", "dry"), "--dry-run"]) == 0
    assert said in capsys.readouterr().out and not (tmp_path / "dry").exists()
    caplog.clear()
    assert main(asked("long", "a")) == 0
    assert caplog.text.count(said) == 1
    caplog.clear()
    assert main(asked("short", "b")) == 0
    assert "not finished" not in caplog.text
    clips = [read_sixview(tmp_path / name / "sixview") for name in "ab"]
    assert torch.equal(clips[0].views, clips[1].views)
    sources = [json.loads((tmp_path / n / "generate.json").read_text())["source"] for n in "ab"]
    assert sources[0]["unfinished"]["step"] == 2 and sources[1]["unfinished"] is None
    assert files(runs / "long") == before
    # The last one is damaged: the one before is taken.
    last = runs / "long" / "checkpoints" / "step_00000002" / "tensors.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    assert main([*asked("long", "c"), "--dry-run"]) == 0
    assert "weights of step 1 of 5" in capsys.readouterr().out


@pytest.mark.parametrize("finished", [False, True])
def test_temporal_layers_without_a_checkpoint_are_the_runs(
    tiniest: TinyCheckpoint, dots: Path, tmp_path: Path, finished: bool
) -> None:
    """They started at random, and adapters do not hold them."""
    more = (*QUICK, 'model.temporal_source=""', "seed=3")
    config = load_config(TrainConfig, None, command(tiniest, [dots], tmp_path, *more))
    accelerator = make_accelerator("cpu", "fp32")
    seed_everything(config.seed)
    pipeline = train.make_pipeline(config, accelerator)
    started = {name: t.clone() for name, t in pipeline.unet.state_dict().items()}
    trainer = train.make_trainer(config, accelerator, pipeline, tmp_path)
    CheckpointStore(tmp_path / "checkpoints").save(0, *trainer.tensors())
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    if finished:
        train.export(config, trainer, pipeline, tmp_path)
    asked = GenerateConfig(device="cpu", model=ModelSourceConfig(run=str(tmp_path)))
    found = load_pipeline(find_source(asked), asked).unet.state_dict()
    # An adapter that has not trained yet changes nothing.
    assert found.keys() == started.keys()
    assert [name for name, t in started.items() if not torch.equal(t, found[name])] == []
