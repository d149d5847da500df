"""Tests and benchmarks of a GPU with a time limit each, one table and one JSON of all.

``scripts/gpu_check.sh`` sets the environment up and starts this. Every part is a process of its
own, because one that fails or runs out of time must not take the others with it.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.run_folder import describe_environment

ROOT = Path(__file__).resolve().parent.parent
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """One part of the check.

    Attributes:
        share: of the time there is. command: arguments of Python. result: the JSON that it writes,
            None where what it prints is the result. rows: table lines out of that JSON.
    """

    name: str
    share: float
    command: tuple[str, ...]
    result: Path | None = None
    rows: Callable[[Any], Rows] | None = None


def parts(out: Path, tiny: bool) -> list[Part]:
    """What there is to run; ``tiny`` at toy sizes on a CPU."""
    papr, zero123, mnvs = (out / f"bench_{name}.json" for name in ("papr", "zero123", "mnvs"))
    device = "device=cpu" if tiny else "device=cuda"
    of_papr = (
        ["patches=[16]", "points=[300]", "picture=16", "neighbours=[5]", "networks=[small]",
         "precisions=[plain,float32]", "steps=1"] if tiny else
        ["patches=[160]", "points=[30000]", "picture=800", "networks=[full]",
         "plain_bytes=40000000000"]
    )  # fmt: skip
    of_mnvs = (
        ["size=tiny", "frames=[2]", "warmup=0", "steps=1", "generate=1", "guidance=1", "rank=4"]
        if tiny else ["frames=[8,14]"]
    )  # fmt: skip
    tests = ["tests/gpu", "-q", "-rs", "--no-header", "-p", "no:cacheprovider"]
    if tiny:
        tests += ["-k", "rays_made_on_the_device"]
    found = [
        Part("tests", 0.3, ("-m", "pytest", *tests)),
        Part(
            "bench_papr",
            0.25,
            ("scripts/bench_papr.py", device, *of_papr, f"output={papr.with_suffix('')}"),
            papr,
            papr_rows,
        ),
    ]
    if not tiny:  # the published Zero123 has no toy size
        command = ("scripts/bench_zero123.py", device, "guidance=3", f"output={zero123}")
        found.append(Part("bench_zero123", 0.15, command, zero123, zero123_rows))
    command = ("scripts/bench_mnvs.py", device, *of_mnvs, f"output={mnvs}")
    return [*found, Part("bench_mnvs", 0.3, command, mnvs, mnvs_rows)]


def papr_rows(document: Any) -> Rows:
    """One line a precision, against the plain path of the same run."""
    results = document["results"]
    key = "wall_s" if document["config"]["device"] == "cuda" else "cpu_s"
    names = ("network", "patch", "points", "neighbours")
    plain = {tuple(r[n] for n in names): r for r in results if r["precision"] == "plain"}
    rows = []
    for r in results:
        slow, seconds = plain.get(tuple(r[n] for n in names)), r["step"][key]
        rows.append(
            {
                "what": f"PAPR {r['network']} {r['patch']}x{r['patch']}, {r['points']} points, "
                f"K={r['neighbours']}, {r['precision']}",
                "seconds": seconds,
                "peak_bytes": r["peak_growth_bytes"],
                "times_plain": slow["step"][key] / seconds if slow else None,
                "roofline": 1.0 / r["times_the_floor"],
            }
        )
    return rows


def zero123_rows(document: Any) -> Rows:
    """The step of SJC, in one line."""
    what = "Zero123 step of SJC, guidance 3"
    return [{"what": what, "seconds": document["step_s"], "peak_bytes": document["peak_bytes"]}]


def mnvs_rows(document: Any) -> Rows:
    """Training steps against diffusers' network of the same run, and generation."""
    rows, measured = [], [r for r in document["rows"] if "seconds" in r]
    plain = {r["frames"]: r["seconds"] for r in measured if "diffusers" in r["what"]}
    for r in measured:
        fused = "fused" in r["what"] and r["frames"] in plain
        rows.append(
            {
                "what": f"MNVS {r['what']}, T={r['frames']}",
                "seconds": r["seconds"],
                "peak_bytes": r["peak_gib"] * 2**30,
                "times_plain": plain[r["frames"]] / r["seconds"] if fused else None,
            }
        )
    return rows


def run_part(part: Part, seconds: float, log: Path, tiny: bool) -> dict[str, Any]:
    """Run it for so long at most: how it ended, and its lines of the table."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if tiny:
        environment |= {"VIDEOPAPR_GPU_TESTS": "cpu", "OMP_NUM_THREADS": "1"}
    begin, ended = time.monotonic(), "failed"
    with log.open("w") as said:
        try:
            code = subprocess.run(
                [sys.executable, *part.command], cwd=ROOT, env=environment, timeout=seconds,
                stdout=said, stderr=subprocess.STDOUT,
            ).returncode  # fmt: skip
            ended = "done" if code == 0 else f"failed with code {code}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after its {seconds:.0f} s"
    found: dict[str, Any] = {"name": part.name, "ended": ended, "log": str(log)}
    found["seconds"] = round(time.monotonic() - begin, 1)
    if part.rows and part.result and part.result.is_file():
        found["rows"] = part.rows(read_json(part.result))
    if part.result is None:
        lines = log.read_text().splitlines()
        found["counts"] = lines[-1].strip("= ") if lines else ""
        found["skipped"] = [line for line in lines if line.startswith("SKIPPED")]
    return found


def table(document: dict[str, Any]) -> str:
    """All parts as text: benchmarks as one table, then how each part ended."""
    lines = [
        "| what | s / step | peak memory | times plain | share of the roofline |",
        "|---|---|---|---|---|",
    ]
    for part in document["parts"]:
        for row in part.get("rows", []):
            times, share = row.get("times_plain"), row.get("roofline")
            lines.append(
                f"| {row['what']} | {row['seconds']:.4f} | {row['peak_bytes'] / 2**30:.2f} GiB | "
                f"{'' if times is None else f'{times:.2f}'} | "
                f"{'' if share is None else f'{share:.0%}'} |"
            )
    lines.append("")
    for part in document["parts"]:
        counts = f": {part['counts']}" if part.get("counts") else ""
        lines.append(f"- {part['name']}: {part['ended']}, {part['seconds']} s{counts}")
        lines += [f"    - {line}" for line in part.get("skipped", [])]
    lines += [f"- {name}: skipped, {why}" for name, why in document["skipped"].items()]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs/gpu_check")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on the CPU")
    arguments = parser.parse_args(argv)
    if not arguments.tiny and not torch.cuda.is_available():
        sys.stderr.write("error: PyTorch finds no CUDA device; --tiny rehearses on the CPU\n")
        return 2
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    device = "CPU" if arguments.tiny else torch.cuda.get_device_name()
    document: dict[str, Any] = {"device": device, "environment": describe_environment()}
    document |= {"parts": [], "skipped": {}}
    deadline, todo = time.monotonic() + 60.0 * arguments.minutes, parts(out, arguments.tiny)
    for number, part in enumerate(todo):
        # What a part leaves of its share, those after it have.
        left = deadline - time.monotonic()
        seconds = left * part.share / sum(p.share for p in todo[number:])
        if seconds < 1.0:
            document["skipped"][part.name] = "no time was left"
        else:
            name = re.sub(r"\W", "_", part.name)
            document["parts"].append(run_part(part, seconds, out / f"{name}.log", arguments.tiny))
        atomic.write_json(out / "gpu_check.json", document)
        atomic.write_text(out / "gpu_check.md", table(document))
    sys.stdout.write(f"{device}\n\n{table(document)}")
    return int(any(part["ended"] != "done" for part in document["parts"]))


if __name__ == "__main__":
    raise SystemExit(main())
