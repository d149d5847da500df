"""The benchmark and the ablation script, at the smallest size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

from tiny_scene import TINY_MODEL, write_frame  # noqa: E402


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_bench_compares_with_the_plain_path(tmp_path: Path) -> None:
    output = tmp_path / "bench"
    grid = ["patches=[8]", "points=[60]", "neighbours=[4]", "networks=[small]", "steps=1"]
    done = script("bench_papr.py", *grid, "picture=12", f"output={output}")
    assert done.returncode == 0, done.stderr
    results = json.loads(output.with_suffix(".json").read_text())["results"]
    assert [r["precision"] for r in results] == ["plain", "float32", "bfloat16"]
    assert all(r["step"]["cpu_s"] > 0.0 and r["gflop"] > 0.0 for r in results)
    assert results[1]["search_share"] > 0.0 and "search_share" not in results[0]
    assert len(output.with_suffix(".md").read_text().splitlines()) == 2 + 3


def test_bench_leaves_out_what_cannot_fit(tmp_path: Path) -> None:
    done = script("bench_papr.py", "--dry-run", "plain_bytes=1", "networks=[small]")
    assert done.returncode == 0
    assert "plain" not in {case["precision"] for case in json.loads(done.stdout)}


@pytest.mark.parametrize("bad", ["patches=[400]", "networks=[huge]", "steps=0"])
def test_bench_refuses_what_it_cannot_measure(bad: str) -> None:
    done = script("bench_papr.py", bad)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_ablation_trains_every_variant_once(tmp_path: Path) -> None:
    data = write_frame(tmp_path / "ball" / "frame_000")
    config = tmp_path / "study.yaml"
    common = [*TINY_MODEL, "optimize.steps=3", "optimize.patches.size=8", "log.validate_every=0"]
    variants = ["base: points.count=150", "less: model.neighbours=2"]
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    study = {"base": str(base), "common": common, "variants": variants, "data": [str(data)]}
    config.write_text(json.dumps(study))
    arguments = ["--config", str(config), f"output_root={tmp_path / 'out'}", "name=two"]
    first = script("ablate_papr.py", *arguments)
    assert first.returncode == 0, first.stderr
    header, _, *rows = first.stdout.splitlines()
    assert "ball/frame_000" in header and len(rows) == 2
    assert rows[0].startswith("| base |") and "| +0.00 |" in rows[0]
    again = script("ablate_papr.py", *arguments)
    assert again.stdout == first.stdout and "train" not in again.stderr
    config.write_text(json.dumps(study | {"common": [*common, "seed=1"]}))
    other = script("ablate_papr.py", *arguments)
    assert other.returncode == 2 and "another configuration" in other.stderr


@pytest.mark.parametrize("data", ["['']", "[a/b sparse.seed=1, a/b sparse.seed=2]"])
def test_ablation_refuses_data_that_would_share_a_folder(tmp_path: Path, data: str) -> None:
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    done = script(
        "ablate_papr.py", f"base={base}", "variants=['a: ']", f"data={data}",
        f"output_root={tmp_path / 'out'}",
    )  # fmt: skip
    assert done.returncode == 2 and "data" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("variants", ['["no colon"]', '["a: ","a: "]', '["a: modle.neighbours=2"]'])
def test_ablation_refuses_bad_variants_before_any_work(tmp_path: Path, variants: str) -> None:
    base = ROOT / "configs" / "sjc_papr" / "cpu_small.yaml"
    done = script(
        "ablate_papr.py", f"base={base}", f"variants={variants}", f"data=[{tmp_path}]",
        f"output_root={tmp_path / 'out'}",
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
