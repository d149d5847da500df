"""Training longer: what comes along, what is refused, and that nothing else changes a bit."""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training_core.checkpoint import (
    Checkpoint,
    CheckpointStore,
    capture_optimizer,
    capture_rng,
    restore_optimizer,
    restore_rng,
    seed_everything,
)
from training_core.config import ConfigError, InputError, option
from training_core.extension import extended_run, log_differences
from training_core.loop import TrainingLoop, TrainingTime
from training_core.run_config import CommandConfig, LogConfig
from training_core.step.schedules import warmup_cosine
from training_core.stopping import Stopped, StopSignals

PHASE = "curve"


@dataclass
class Config(CommandConfig):
    steps: int = option(4, "steps")
    end: float = option(0.0, "rate at the last step")
    width: int = option(3, "of the network")


class Curve:
    """Fits noise drawn from the global generator, at rates that depend on the number of steps."""

    def __init__(self, config: Config) -> None:
        seed_everything(config.seed)
        self.config, self.steps = config, config.steps
        self.model = nn.Linear(config.width, 1)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.rates: dict[int, float] = {}

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        rate = warmup_cosine(step, self.steps, 0, 0.1, self.config.end)
        self.rates[step] = self.optimizer.param_groups[0]["lr"] = rate
        loss = self.model(torch.randn(8, self.config.width)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss/total": loss.detach()}

    def extra_metrics(self) -> dict[str, float]:
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, optimizer = capture_optimizer(self.optimizer, "optimizer")
        rng, rng_state = capture_rng()
        state = {"optimizer": optimizer, "rng": rng_state}
        return tensors | rng | self.model.state_dict(), state

    def restore(self, saved: Checkpoint) -> None:
        self.model.load_state_dict({k: saved.tensors[k] for k in ("weight", "bias")})
        restore_optimizer(self.optimizer, "optimizer", saved.tensors, saved.state["optimizer"])
        restore_rng(saved.tensors, saved.state["rng"])


def configured(root: Path, **values: Any) -> Config:
    return Config(output_root=str(root), **values)


def train(config: Config, stop_before: int | None = None) -> tuple[Curve, TrainingTime]:
    source = extended_run(config, PHASE, config.steps, "steps")
    run, trainer = config.open_run(PHASE), Curve(config)
    if source:
        log_differences(source, config)
    log = LogConfig(every=1, checkpoint_every=100)
    step = trainer.step
    with StopSignals() as stop:

        def stepped(number: int, *, measure: bool = False) -> dict[str, Tensor]:
            if number == stop_before:
                signal.raise_signal(signal.SIGTERM)
            return step(number, measure=measure)

        trainer.step = stepped  # type: ignore[method-assign]
        spent = TrainingLoop(trainer, run, log, stop, "test", extend=source).fit()
    return trainer, spent


def newest(root: Path, name: str) -> dict[str, Tensor]:
    saved = CheckpointStore(root / PHASE / name / "checkpoints").load()
    assert saved is not None
    return saved.tensors


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_where_no_rate_depends_on_the_length_an_extension_equals_a_long_run(tmp_path: Path) -> None:
    train(configured(tmp_path, name="short", end=0.1))
    train(configured(tmp_path, name="long", end=0.1, steps=9))
    more = configured(tmp_path, name="more", end=0.1, steps=9, extend=str(tmp_path / "curve/short"))
    train(more)
    assert_same(newest(tmp_path, "more"), newest(tmp_path, "long"))


def test_schedules_go_on_as_those_of_a_run_of_the_new_length(tmp_path: Path) -> None:
    train(configured(tmp_path, name="short"))
    source = str(tmp_path / "curve/short")
    trainer, _ = train(configured(tmp_path, name="more", steps=8, extend=source))
    assert trainer.rates == {
        step: pytest.approx(warmup_cosine(step, 8, 0, 0.1, 0.0)) for step in range(4, 8)
    }
    assert trainer.rates[4] == pytest.approx(0.05), "the middle of eight steps"


def test_an_extension_that_is_stopped_ends_with_the_same_bits(tmp_path: Path) -> None:
    train(configured(tmp_path, name="short"))
    source = str(tmp_path / "curve/short")
    straight = configured(tmp_path, name="straight", steps=9, extend=source)
    stopped = configured(tmp_path, name="stopped", steps=9, extend=source)
    train(straight)
    with pytest.raises(Stopped):
        train(stopped, stop_before=6)
    # It has its own state by now and does without the run that it extends.
    shutil.rmtree(source)
    train(stopped)
    assert_same(newest(tmp_path, "stopped"), newest(tmp_path, "straight"))


def test_a_kill_before_the_first_step_starts_the_extension_once_more(tmp_path: Path) -> None:
    train(configured(tmp_path, name="short"))
    more = configured(tmp_path, name="more", steps=6, extend=str(tmp_path / "curve/short"))
    more.open_run(PHASE)  # and killed
    trainer, _ = train(more)
    assert sorted(trainer.rates) == [4, 5]


def test_the_state_log_and_time_come_along(tmp_path: Path) -> None:
    _, before = train(configured(tmp_path, name="short"))
    source = tmp_path / "curve/short"
    files = {p: p.read_bytes() for p in source.rglob("*.json*")}
    _, spent = train(configured(tmp_path, name="more", steps=6, extend=str(source)))
    lines = (tmp_path / "curve/more/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert spent.seconds > before.seconds
    steps = sorted(p.name for p in (tmp_path / "curve/more/checkpoints").glob("step_*"))
    assert steps == ["step_00000004", "step_00000006"]
    assert {p: p.read_bytes() for p in source.rglob("*.json*")} == files, "the other run changed"


def test_what_differs_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(configured(tmp_path, name="short"))
    caplog.set_level("INFO")
    source = tmp_path / "curve/short"
    train(configured(tmp_path, name="more", steps=6, end=0.01, extend=str(source)))
    assert f"extends {source} with steps=6 (was 4), end=0.01 (was 0.0)" in caplog.text


@pytest.mark.parametrize(
    ("case", "values", "words"),
    [
        ("steps not more", {"steps": 4}, r"has made 4 steps; steps=4 must be more"),
        ("no run", {"extend": "elsewhere"}, r"extend: elsewhere is no run folder"),
        ("itself", {"name": "short", "resume": "never"}, r"is this run itself; give the longer"),
        ("no checkpoint", {"extend": "empty"}, r"extend: empty has no checkpoint to go on from"),
    ],
)
def test_an_impossible_extension_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, values: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    train(configured(Path("."), name="short"))
    Path("empty").mkdir()
    shutil.copy("curve/short/config.yaml", "empty/config.yaml")
    keys = {"name": "more", "steps": 6, "extend": "curve/short"} | values
    with pytest.raises(ConfigError, match=words):
        train(configured(Path("."), **keys))
    assert sorted(path.name for path in Path("curve").iterdir()) == ["short"]


def test_a_checkpoint_of_another_network_is_one_line(tmp_path: Path) -> None:
    train(configured(tmp_path, name="short"))
    source = str(tmp_path / "curve/short")
    other = configured(tmp_path, name="more", steps=6, width=5, extend=source)
    with pytest.raises(InputError, match="step 4: does not fit this configuration: ") as caught:
        train(other)
    assert source in str(caught.value) and "\n" not in str(caught.value)


def test_a_checkpoint_without_what_is_needed_is_one_line(tmp_path: Path) -> None:
    config = configured(tmp_path)
    CheckpointStore(tmp_path / PHASE / "run" / "checkpoints").save(
        2, Curve(config).tensors()[0], {}
    )
    (tmp_path / PHASE / "run" / "config.yaml").write_text("steps: 4\n")
    with pytest.raises(InputError, match="step 2: does not fit this configuration: no 'optimizer'"):
        train(config)


def test_more_steps_under_the_same_name_point_to_extend(tmp_path: Path) -> None:
    train(configured(tmp_path))
    with pytest.raises(ConfigError, match=r"longer, use another name and extend=\S+curve/run"):
        train(configured(tmp_path, steps=8))


@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_a_folder_of_another_name_continues(tmp_path: Path, how: str) -> None:
    train(configured(tmp_path, name="a"))
    with pytest.raises(Stopped):
        train(configured(tmp_path, name="b"), stop_before=2)
    folder = tmp_path / PHASE
    (shutil.move if how == "renamed" else shutil.copytree)(folder / "b", folder / "c")
    (folder / "c" / ".lock").unlink()  # this process still holds it; one that ended does not
    trainer, _ = train(configured(tmp_path, name="c"))
    assert sorted(trainer.rates) == [3]
    assert_same(newest(tmp_path, "c"), newest(tmp_path, "a"))
    assert "name: c\n" in (folder / "c" / "config.yaml").read_text()


def test_a_run_without_its_checkpoints_starts_anew_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(configured(tmp_path))
    folder = tmp_path / PHASE / "run"
    shutil.rmtree(folder / "checkpoints")
    assert "no checkpoint" not in caplog.text
    trainer, _ = train(configured(tmp_path))
    assert sorted(trainer.rates) == [0, 1, 2, 3]
    assert "no checkpoint is left, though its log reaches step 4" in caplog.text
