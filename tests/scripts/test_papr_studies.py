"""The benchmark and the ablation script, at the smallest size."""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

import pytest
from kill_runs import import_server
from tiny_scene import TINY_MODEL, write_frame

ROOT = Path(__file__).resolve().parents[2]


def script(name: str, *arguments: str) -> tuple[int, str, str]:
    """What a script does, in this process; its exit status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ending,
        ):
            runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
    return int(ending.value.code or 0), out.getvalue(), err.getvalue()


@pytest.mark.slow
def test_bench_compares_with_the_plain_path(tmp_path: Path) -> None:
    output = tmp_path / "bench"
    grid = ["patches=[8]", "points=[60]", "neighbours=[4]", "networks=[small]", "steps=1"]
    import_server()  # which the script then finds running
    status, said, error = script("bench_papr.py", *grid, "picture=12", f"output={output}")
    assert status == 0, error
    results = json.loads(output.with_suffix(".json").read_text())["results"]
    assert [r["precision"] for r in results] == ["plain", "float32", "bfloat16"]
    assert all(r["step"]["cpu_s"] > 0.0 and r["gflop"] > 0.0 for r in results)
    assert results[1]["search_share"] > 0.0 and "search_share" not in results[0]
    table = output.with_suffix(".md").read_text()
    assert said == table and len(table.splitlines()) == 2 + 3


def test_bench_leaves_out_what_cannot_fit(tmp_path: Path) -> None:
    status, said, _ = script("bench_papr.py", "--dry-run", "plain_bytes=1", "networks=[small]")
    assert status == 0
    assert "plain" not in {case["precision"] for case in json.loads(said)}


@pytest.mark.parametrize("bad", ["patches=[400]", "networks=[huge]", "steps=0"])
def test_bench_refuses_what_it_cannot_measure(bad: str) -> None:
    status, _, error = script("bench_papr.py", bad)
    assert status == 2 and len(error.splitlines()) == 1


@pytest.mark.slow
def test_ablation_trains_every_variant_once(tmp_path: Path) -> None:
    data = write_frame(tmp_path / "ball" / "frame_000")
    config = tmp_path / "study.yaml"
    common = [*TINY_MODEL, "optimize.steps=3", "optimize.patches.size=8", "log.validate_every=0"]
    variants = ["base: points.count=150", "less: model.neighbours=2"]
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    study = {"base": str(base), "common": common, "variants": variants, "data": [str(data)]}
    config.write_text(json.dumps(study))
    arguments = ["--config", str(config), f"output_root={tmp_path / 'out'}", "name=two"]
    status, table, error = script("ablate_papr.py", *arguments)
    assert status == 0, error
    header, _, *rows = table.splitlines()
    assert "ball/frame_000" in header and len(rows) == 2
    assert rows[0].startswith("| base |") and "| +0.00 |" in rows[0]
    trained = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("metrics.json*")}
    assert len(trained) == 4
    assert script("ablate_papr.py", *arguments)[:2] == (0, table)
    assert {p: p.stat().st_mtime_ns for p in trained} == trained, "done runs are not done again"
    config.write_text(json.dumps(study | {"common": [*common, "seed=1"]}))
    status, _, error = script("ablate_papr.py", *arguments)
    assert status == 2 and "another configuration" in error


@pytest.mark.parametrize("data", ["['']", "[a/b sparse.seed=1, a/b sparse.seed=2]"])
def test_ablation_refuses_data_that_would_share_a_folder(tmp_path: Path, data: str) -> None:
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    status, _, error = script(
        "ablate_papr.py", f"base={base}", "variants=['a: ']", f"data={data}",
        f"output_root={tmp_path / 'out'}",
    )  # fmt: skip
    assert status == 2 and "data" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("variants", ['["no colon"]', '["a: ","a: "]', '["a: modle.neighbours=2"]'])
def test_ablation_refuses_bad_variants_before_any_work(tmp_path: Path, variants: str) -> None:
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    status, _, error = script(
        "ablate_papr.py", f"base={base}", f"variants={variants}", f"data=[{tmp_path}]",
        f"output_root={tmp_path / 'out'}",
    )  # fmt: skip
    assert status == 2 and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
