"""Every run below a folder, of any phase, in a few figures each."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate_papr.run_files import read_json_or_none
from training_core.files.natural_order import natural_key

DEEPEST = 6  # folders below the one asked for: pipeline/NAME/4_animate/animate_papr/NAME
INSIDE = ("frames", "checkpoints", "images", "videos", "tensorboard", "export")
FIGURES = ("psnr", "ssim", "lpips")
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class ListedRun:
    """One run.

    Attributes:
        name: its folder, from the one asked for. phase: the folder it lies in.
        started: ISO 8601 time of its first start, "" where it is not known.
        command: of its last start. finished: whether it has its final figures.
        figures: psnr, ssim, lpips (means over what was measured), frames, steps, seconds; what
            was not measured is left out.
        curves: for each logged loss/… and val/… its (step, value), frames in a row.
    """

    path: Path
    name: str
    phase: str
    started: str
    command: str
    finished: bool
    figures: dict[str, float]
    curves: dict[str, Curve]
    image: Path | None
    videos: list[Path]
    report: Path | None


def find_runs(folder: Path) -> list[ListedRun]:
    """All run folders below `folder`, itself included, the newest first."""
    runs = [read_listed(path, folder) for path in _run_folders(folder)]
    return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)


def _run_folders(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        path = Path(root)
        if "config.yaml" in files and "environment.json" in files and "input.json" not in files:
            yield path
            folders.clear()  # a run's frames are not runs of their own
        if len(path.relative_to(folder).parts) >= DEEPEST:
            folders.clear()
        inside = INSIDE if "config.yaml" in files else ()  # elsewhere a run may have such a name
        folders[:] = sorted(f for f in folders if f not in inside and not f.startswith("."))


def read_listed(path: Path, top: Path) -> ListedRun:
    """One run folder; whatever of it is damaged or missing is left out."""
    summary = read_json_or_none(path / "metrics.json")
    folders = sorted((path / "frames").glob("*/"), key=lambda p: natural_key(p.name))
    measured = [read_json_or_none(p / "metrics.json") or {} for p in folders]
    parts = [m for m in measured or [summary or {}] if m]
    logs = [p / "metrics.jsonl" for p in folders] or [path / "metrics.jsonl"]
    starts = _text(path / "command.txt").splitlines()
    name = "" if path == top else str(path.relative_to(top))
    above = [p for p in path.parents if p.is_relative_to(top)][:3]  # the pipeline's lies higher
    pages = [p / "report.html" for p in (path, *above)]
    return ListedRun(
        path=path,
        name=name or path.resolve().name,
        phase=path.resolve().parent.name,
        started=starts[0].split(" ", 1)[0] if starts else "",
        command=starts[-1].split(" ", 2)[-1] if starts else "",
        finished=summary is not None,
        figures=_figures(parts, len(folders)),
        curves=read_curves(logs),
        image=_last(path, ("*prediction.png", "*.png")),
        videos=sorted((path / "videos").glob("*.mp4")),
        report=next((page for page in pages if page.is_file()), None),
    )


def _figures(parts: list[dict[str, Any]], frames: int) -> dict[str, float]:
    found = {key: [float(p[key]) for p in parts if _usable(p.get(key))] for key in FIGURES}
    figures = {key: sum(values) / len(values) for key, values in found.items() if values}
    for key in ("steps", "seconds"):
        values = [float(p[key]) for p in parts if _usable(p.get(key))]
        if values:
            figures[key] = sum(values)
    if frames:
        figures["frames"] = float(len(parts))
    return figures


def _usable(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_curves(logs: list[Path]) -> dict[str, Curve]:
    """The loss/… and val/… of one or several metrics.jsonl, whose steps follow each other."""
    curves: dict[str, Curve] = defaultdict(list)
    start = 0.0
    for log in logs:
        last = 0.0
        for line in _text(log).splitlines():
            try:
                record = json.loads(line)
                step = float(record["step"])
            except (ValueError, KeyError, TypeError):
                continue
            last = max(last, step)
            for key, value in record.items():
                if key.startswith(("loss/", "val/")) and _usable(value):
                    curves[key].append((start + step, float(value)))
        start += last
    return dict(curves)


def _last(path: Path, patterns: tuple[str, ...]) -> Path | None:
    """A picture that shows what the run makes: of its last frame, or its own last one."""
    folders = [*sorted((path / "frames").glob("*/images"), reverse=True), path / "images"]
    for pattern in patterns:
        for folder in folders:
            found = sorted(folder.glob(pattern), key=lambda p: natural_key(p.name))
            if found:
                return found[0] if "prediction" in pattern else found[-1]
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
