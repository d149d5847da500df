"""The study and the benchmark of ``scripts/``, at the smallest size."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from moving_dots import write_dots

from mnvs.checkpoints.tiny_checkpoint import build_tiny
from mnvs.lora.modes import MODES
from training_core.config import load_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("study_mnvs")


def study_of(folder: Path, modes: str, *more: str) -> list[str]:
    """Two objectives and two optimizers, two steps each."""
    shared = [
        "device=cpu",
        "precision=fp32",
        "data.frames=3",
        "data.view_size=16",
        "data.condition_size=16",
        "train.steps=2",
        "validation.every=2",
        "validation.steps=1",
        "log.every=1",
    ]
    return [
        f"output_root={folder}",
        f"config={ROOT / 'configs' / 'mnvs' / 'tiny.yaml'}",
        f"modes={modes}",
        "objectives=[v,x0]",
        "seeds=2",
        f"base.options=[{','.join([*shared, *more])}]",
        f"finetune.options=[{','.join([*shared, 'train.ema=0', 'train.lora.rank=2'])}]",
    ]


def test_every_combination_comes_once(study: ModuleType, tmp_path: Path) -> None:
    config = load_config(study.StudyConfig, None, study_of(tmp_path, "[kq,temporal]"))
    assert [c.name for c in study.combinations(config)] == [
        "kq-v-adamw",
        "kq-x0-adamw",
        "temporal-v-adamw",
        "temporal-x0-adamw",
        "kq-v-adam",
        "temporal-v-adam",
        "kq-v-adamw-seed1",
    ]
    assert "7 runs of 2 steps" in study.plan(config)


@pytest.mark.slow
def test_a_study_tries_every_combination_once_and_goes_on_where_it_stopped(
    study: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 16}
    tiny = build_tiny(tmp_path / "tiny", **sizes)
    base, other = (write_dots(tmp_path / n, frames=3, dataset=i) for i, n in enumerate("ab"))
    starts = [f"model.zero123plus={tiny.zero123plus}", f"model.temporal_source={tiny.svd}"]
    overrides = study_of(tmp_path, "[kq]", *starts)
    data = [f"base.data=[{base}]", f"finetune.data={other}"]
    config = load_config(study.StudyConfig, None, [*overrides, *data])
    names = [c.name for c in study.combinations(config)]
    assert names == ["kq-v-adamw", "kq-x0-adamw", "kq-v-adam", "kq-v-adamw-seed1"]
    study.run(config)
    folder = tmp_path / "study_mnvs" / "study"
    results = json.loads((folder / "study.json").read_text())["results"]
    assert [r["name"] for r in results] == names
    assert all(len(r["curve"]) == 2 and r["psnr"] > 0 for r in results)
    # The first steps see the same noise and the same start, before any adapter has moved.
    first = {r["curve"][0][1] for r in results if r["seed"] == 0}
    assert len(first) == 1
    table = (folder / "study.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("\n") == 2 + 1 + len(names)
    assert (folder / "study.png").stat().st_size > 1000

    (folder / "mnvs" / names[-1] / "metrics.json").unlink()
    times = {n: (folder / "mnvs" / n / "metrics.json").stat().st_mtime_ns for n in names[:-1]}
    study.run(config)
    assert (folder / "mnvs" / names[-1] / "metrics.json").is_file()
    assert times == {
        n: (folder / "mnvs" / n / "metrics.json").stat().st_mtime_ns for n in names[:-1]
    }


def test_the_shipped_study_covers_every_mode(study: ModuleType) -> None:
    config = load_config(study.StudyConfig, ROOT / "configs" / "mnvs" / "study.yaml", [])
    assert set(config.modes) == set(MODES)
    tried = {(c.mode, c.objective) for c in study.combinations(config)}
    assert tried == {(m, o) for m in MODES for o in ("v", "x0", "min_snr")}


def test_benchmark(
    load_script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = load_script("bench_mnvs")
    output = tmp_path / "bench.json"
    overrides = ["size=tiny", "device=cpu", "precision=fp32", "frames=[1]", "rank=2"]
    short = ["warmup=0", "steps=1", "generate=1", f"output={output}"]
    bench.run(load_config(bench.BenchConfig, None, [*overrides, *short]))
    rows = json.loads(output.read_text())["rows"]
    assert [row["what"].split(",")[0] for row in rows] == [
        "training step",
        "training step",
        "generation",
    ]
    assert all(row["seconds"] > 0 and row["peak_gib"] > 0 for row in rows)
    assert "T=1" in capsys.readouterr().out
