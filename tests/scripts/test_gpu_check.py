"""The check of a GPU, rehearsed: its parts, its table, what it does when time runs out."""

import json
from pathlib import Path
from typing import Any

import gpu_check
import pytest
from refusals import assert_refused

PAPR = {
    "config": {"device": "cuda"},
    "results": [
        {
            "network": "full", "patch": 160, "points": 30000, "neighbours": 20,
            "precision": precision, "step": {"wall_s": seconds, "cpu_s": 9.0},
            "peak_growth_bytes": 2**30, "times_the_floor": 2.0,
        }
        for precision, seconds in (("plain", 2.0), ("bfloat16", 0.5))
    ],
}  # fmt: skip
MNVS = {
    "rows": [
        {"what": "training step, fused", "frames": 8, "seconds": 1.1, "peak_gib": 20.0},
        {"what": "training step, diffusers' SVD", "frames": 8, "seconds": 1.0, "peak_gib": 18.0},
        {"what": "training step, fused", "frames": 14, "error": "out of memory"},
    ]
}


def test_rows_say_time_memory_and_ratio() -> None:
    plain, fast = gpu_check.papr_rows(PAPR)
    assert (plain["times_plain"], fast["times_plain"]) == (1.0, 4.0)
    assert fast["roofline"] == 0.5 and fast["seconds"] == 0.5
    ours, theirs = gpu_check.mnvs_rows(MNVS)
    assert ours["times_plain"] == pytest.approx(1.0 / 1.1) and theirs["times_plain"] is None
    assert ours["peak_bytes"] == 20.0 * 2**30


def test_a_machine_without_a_gpu_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    assert_refused(gpu_check.main, ["--out", str(tmp_path)], capsys, "no CUDA device")
    assert not list(tmp_path.iterdir())


def test_every_part_of_a_full_check_exists(tmp_path: Path) -> None:
    full = gpu_check.parts(tmp_path, tiny=False)
    assert sum(part.share for part in full) == pytest.approx(1.0)
    for part in full:
        script = part.command[0]
        assert script == "-m" or (gpu_check.ROOT / script).is_file()


def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[gpu_check.Part], minutes: float
) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and table of a check of these parts."""
    monkeypatch.setattr(gpu_check, "parts", lambda out, tiny: parts)
    code = gpu_check.main(["--tiny", "--minutes", str(minutes), "--out", str(tmp_path)])
    document = json.loads((tmp_path / "gpu_check.json").read_text())
    return code, document, (tmp_path / "gpu_check.md").read_text()


def test_parts_run_in_turn_and_one_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = tmp_path / "result.json"
    write = f"import pathlib; pathlib.Path({str(result)!r}).write_text({json.dumps(PAPR)!r})"
    parts = [
        gpu_check.Part("broken", 0.5, ("-c", "raise SystemExit(3)")),
        gpu_check.Part("bench", 0.5, ("-c", write), result, gpu_check.papr_rows),
    ]
    code, document, table = check(tmp_path, monkeypatch, parts, 1.0)
    assert code == 1
    assert [part["ended"] for part in document["parts"]] == ["failed with code 3", "done"]
    assert "PAPR full 160x160" in table and "| 4.00 | 50% |" in table
    assert "broken: failed with code 3" in table


def test_a_part_that_takes_too_long_is_stopped_and_keeps_its_rows(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text(json.dumps(PAPR))
    command = ("-c", "import time; time.sleep(60)")
    part = gpu_check.Part("slow", 1.0, command, result, gpu_check.papr_rows)
    found = gpu_check.run_part(part, 1.0, tmp_path / "log", tiny=True)
    assert found["ended"] == "stopped after its 1 s" and len(found["rows"]) == 2


def test_parts_without_time_are_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [gpu_check.Part("never", 1.0, ("-c", ""))]
    code, document, table = check(tmp_path, monkeypatch, parts, 0.0)
    assert code == 0 and document["skipped"] == {"never": "no time was left"}
    assert "never: skipped, no time was left" in table


@pytest.mark.slow
def test_rehearsal_on_the_cpu(tmp_path: Path) -> None:
    code = gpu_check.main(["--tiny", "--minutes", "10", "--out", str(tmp_path)])
    document = json.loads((tmp_path / "gpu_check.json").read_text())
    assert code == 0, [(p["name"], Path(p["log"]).read_text()[-500:]) for p in document["parts"]]
    rows = [row for part in document["parts"] for row in part.get("rows", [])]
    assert any("PAPR small" in row["what"] for row in rows)
    assert any("MNVS training step, fused" in row["what"] for row in rows)
