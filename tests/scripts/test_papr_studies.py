"""The benchmark and the ablation script, at the smallest size."""

import functools
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from kill_runs import import_server
from refusals import assert_refused
from tiny_scene import TINY_MODEL, write_frame

ROOT = Path(__file__).resolve().parents[2]


def start(name: str, arguments: Sequence[str]) -> int:
    """The exit status of a script, started in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ending:
        patch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
    return int(ending.value.code or 0)


bench = functools.partial(start, "bench_papr.py")
ablate = functools.partial(start, "ablate_papr.py")


@pytest.mark.slow
def test_bench_compares_with_the_plain_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench"
    grid = ["patches=[8]", "points=[60]", "neighbours=[4]", "networks=[small]", "steps=1"]
    import_server()  # which the script then finds running
    assert bench([*grid, "picture=12", f"output={output}"]) == 0
    results = json.loads(output.with_suffix(".json").read_text())["results"]
    assert [r["precision"] for r in results] == ["plain", "float32", "bfloat16"]
    assert all(r["step"]["cpu_s"] > 0.0 and r["gflop"] > 0.0 for r in results)
    assert results[1]["search_share"] > 0.0 and "search_share" not in results[0]
    table = output.with_suffix(".md").read_text()
    assert capsys.readouterr().out == table and len(table.splitlines()) == 2 + 3


def test_bench_leaves_out_what_cannot_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(["--dry-run", "plain_bytes=1", "networks=[small]"]) == 0
    cases = json.loads(capsys.readouterr().out)
    assert "plain" not in {case["precision"] for case in cases}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("patches=[400]", "picture must be at least as large as every patch"),
        ("networks=[huge]", "networks: 'huge' is not one of"),
        ("steps=0", "steps must be at least 1"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(
    bad: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(bench, [bad], capsys, why)


@pytest.mark.slow
def test_ablation_trains_every_variant_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_frame(tmp_path / "ball" / "frame_000")
    config = tmp_path / "study.yaml"
    common = [*TINY_MODEL, "optimize.steps=3", "optimize.patches.size=8", "log.validate_every=0"]
    variants = ["base: points.count=150", "less: model.neighbours=2"]
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    study = {"base": str(base), "common": common, "variants": variants, "data": [str(data)]}
    config.write_text(json.dumps(study))
    arguments = ["--config", str(config), f"output_root={tmp_path / 'out'}", "name=two"]
    assert ablate(arguments) == 0
    table = capsys.readouterr().out
    header, _, *rows = table.splitlines()
    assert "ball/frame_000" in header and len(rows) == 2
    assert rows[0].startswith("| base |") and "| +0.00 |" in rows[0]
    trained = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("metrics.json*")}
    assert len(trained) == 4
    assert ablate(arguments) == 0 and capsys.readouterr().out == table
    assert {p: p.stat().st_mtime_ns for p in trained} == trained, "done runs are not done again"
    config.write_text(json.dumps(study | {"common": [*common, "seed=1"]}))
    assert_refused(ablate, arguments, capsys, "another configuration")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("data=['']", "data has an empty entry"),
        ("data=[a/b sparse.seed=1, a/b sparse.seed=2]", "the last two folders of each entry"),
        ("variants=['no colon']", "'no colon' is not of the form NAME: key=value"),
        ("variants=['a: ', 'a: ']", "variants must have different names"),
        ("variants=['a: modle.neighbours=2']", "modle: unknown key"),
    ],
)
def test_ablation_refuses_before_any_work(
    wrong: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    sound = (f"base={base}", "variants=['a: ']", f"data=[{tmp_path}]")
    asked = [*sound, f"output_root={tmp_path / 'out'}", wrong]
    assert_refused(ablate, asked, capsys, why)
    assert not (tmp_path / "out").exists()
