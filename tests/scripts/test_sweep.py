"""scripts/sweep.py: scenes times settings, frozen in a list, collected in a table."""

import csv
import json
import shlex
from pathlib import Path

import pytest
import sweep
from sweep import SweepConfig, runs_of, settings_of

from training_core.config import ConfigError, InputError


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two datasets of one frame each."""
    for name in ("Fox", "Robot"):
        (tmp_path / "data" / name / "frame_000").mkdir(parents=True)
    return tmp_path / "data"


def config(scenes: Path, **more: object) -> SweepConfig:
    root = str(scenes.parent / "runs")
    return SweepConfig(name="w", scenes=[f"{scenes}/*/frame_000"], output_root=root, **more)


def test_every_scene_meets_every_setting(scenes: Path) -> None:
    settings = ["plain: steps=10", "long: steps=99 loss.mse=2"]
    chosen = config(scenes, settings=settings, grid=["model.attention.width=32,64"])
    labels = [label for label, _ in settings_of(chosen)]
    assert labels == ["plain_width32", "plain_width64", "long_width32", "long_width64"]
    runs = runs_of(chosen)
    assert len({run.name for run in runs}) == 8
    assert runs[3].name == "w-Fox_frame_000-long_width64"
    data = f"data.path={scenes}/Fox/frame_000"
    words = ("steps=99", "loss.mse=2", "model.attention.width=64")
    assert runs[3].arguments == (f"name={runs[3].name}", data, *words)


def test_the_video_network_takes_lists_of_datasets(scenes: Path) -> None:
    (run, _) = runs_of(config(scenes, command="mnvs.train"))
    assert f"data.paths=[{scenes}/Fox/frame_000]" in run.arguments


def test_the_list_is_frozen_and_the_table_tells_what_is_done(scenes: Path) -> None:
    chosen = config(scenes, grid=["steps=1,2"])
    first = Path(chosen.output_root) / "sjc_papr" / "w-Fox_frame_000-steps1"
    second = first.with_name("w-Fox_frame_000-steps2")
    for folder in (first, second):
        folder.mkdir(parents=True)
    (first / "metrics.json").write_text(json.dumps({"psnr": 28.5, "lpips": None, "steps": 1}))
    (second / "metrics.jsonl").write_text('{"step": 7}\n{"ste')
    assert sweep.run(chosen) is None

    folder = Path(chosen.output_root) / "sweeps" / "w"
    lines = [shlex.split(line) for line in (folder / "runs.txt").read_text().splitlines()]
    assert [words[0] for words in lines] == [f"name={run.name}" for run in runs_of(chosen)]
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done", "begun", "to do", "to do"]
    assert rows[0]["psnr"] == "28.5" and rows[1]["step"] == "7" and rows[1]["psnr"] == ""
    page = (folder / "table.html").read_text()
    assert "<td>28.5</td>" in page and page.count("<tr>") == 5

    assert sweep.run(chosen) is None  # the same again is welcome, another list is not
    with pytest.raises(ConfigError, match="choose another name"):
        sweep.run(config(scenes, grid=["steps=1,3"]))


def test_runs_are_trained_here_and_what_is_done_is_left_alone(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(scenes, run_here=True)
    trained = []

    class Ended:
        returncode = 0

    def train(words: list[str], **options: object) -> Ended:
        name = next(word for word in words if word.startswith("name="))[5:]
        trained.append(name)
        Ended.returncode = 3 if "Robot" in name else 0
        if not Ended.returncode:
            folder = Path(chosen.output_root) / "sjc_papr" / name
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text('{"psnr": 1.0}')
        return Ended()

    monkeypatch.setattr(sweep.subprocess, "run", train)
    assert sweep.run(chosen) == 1
    assert sweep.run(chosen) == 1
    fox, robot = (run.name for run in runs_of(chosen))
    assert trained == [fox, robot, robot]


def test_what_cannot_be_is_refused(scenes: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        runs_of(SweepConfig(name="w", scenes=["nowhere"]))
    with pytest.raises(ConfigError, match="two runs would be called"):
        runs_of(config(scenes, grid=["a.steps=1", "b.steps=1,1"]))
    for wrong in ({"settings": ["no label"]}, {"settings": ["a: word"]}, {"grid": ["word"]}):
        with pytest.raises(ValueError):
            config(scenes, **wrong).validate()
