"""`python -m animate_papr.report`: one HTML file that shows what a run made and how good it is.

The file holds its images, videos and point clouds itself and needs no network to be opened. With
`runs=FOLDER` it is an index of all runs below a folder, of any phase: a table to sort, videos side
by side, curves of every logged term, and each run's command.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from animate_papr.report.data import RunData, read_run
from animate_papr.report.images import cloud_data
from animate_papr.report.index import render_index
from animate_papr.report.run_list import ListedRun, find_runs
from animate_papr.report.sections import (
    cloud_section,
    comparison_section,
    notes_box,
    part,
    video_section,
)
from animate_papr.report.tables import (
    limits_section,
    provenance_section,
    quality_section,
    tiles,
    training_section,
)
from animate_papr.report.templates import filled, json_script
from training_core.cli import run_command
from training_core.config import InputError, option
from training_core.files.atomic import write_text

logger = logging.getLogger(__name__)


@dataclass
class ReportConfig:
    """Which run, and how much of it is shown."""

    run: str = option("", "run folder of animate_papr.train; it may be unfinished")
    runs: str = option("", "instead: a folder with runs below it, for an index of them")
    output: str = option("", "HTML file to write; empty = report.html in run, index.html in runs")
    frames: int = option(8, "frames shown as ground truth beside prediction, evenly spread")
    views: int = option(3, "held-out views shown per frame, evenly spread")

    def validate(self) -> None:
        """Raises ValueError where nothing would be shown."""
        if bool(self.run) == bool(self.runs):
            raise ValueError("give run=FOLDER for one run, or runs=FOLDER for all below it")
        if self.frames < 1 or self.views < 1:
            raise ValueError("frames and views must be at least 1")


def render_report(run: RunData, frames: int = 8, views: int = 3) -> str:
    """The report as HTML text."""
    cloud = cloud_data(run)
    sections = [
        video_section(run),
        cloud_section(cloud),
        comparison_section(run, frames, views),
        quality_section(run),
        training_section(run),
        provenance_section(run),
        limits_section(run, cloud),
    ]
    data = "" if cloud is None else json_script("cloud-data", cloud)
    return filled(
        part("template.html"),
        title=escape(run.path.resolve().name),
        kind="Animated point cloud",
        holds="This file holds everything it shows and needs no network.",
        lead=lead(run),
        notes=notes_box(run.notes),
        tiles=tiles(run),
        sections="\n".join(filter(None, sections)) + data,
        style=part("style.css"),
        script=part("viewer.js"),
    )


def lead(run: RunData) -> str:
    """One or two sentences that say what this is, as HTML."""
    asset = run.dataset_info.get("asset")
    subject = f"<b>{escape(str(asset))}</b>" if asset else "An animation"
    action = run.dataset_info.get("action")
    named = f" (animation “{escape(str(action))}”)" if action else ""
    return (
        f"{subject}{named} as a point cloud that moves, {len(run.frames)} frames. Trained on "
        f"pictures from around the object, judged on {escape(run.judged_on)}."
    )


def write_report(config: ReportConfig) -> None:
    """Read the run and write the report."""
    run = read_run(Path(config.run))
    output = Path(config.output or run.path / "report.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, render_report(run, config.frames, config.views))
    for note in run.notes:
        logger.warning("%s", note)
    logger.info("report: %s (%.1f MB)", output.resolve(), output.stat().st_size / 1e6)


def listed(config: ReportConfig) -> list[ListedRun]:
    """The runs of an index. Raises InputError where there are none."""
    folder = Path(config.runs)
    runs = find_runs(folder) if folder.is_dir() else []
    if not runs:
        raise InputError(f"{folder}: has no run folder in it")
    return runs


def write_index(config: ReportConfig) -> None:
    """Read all runs and write the index."""
    folder, runs = Path(config.runs), listed(config)
    output = Path(config.output or folder / "index.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, render_index(runs, folder, output))
    logger.info("index of %d runs: %s", len(runs), output.resolve())


def write(config: ReportConfig) -> None:
    """A report or an index."""
    if config.runs:
        write_index(config)
    else:
        write_report(config)


def plan(config: ReportConfig) -> str:
    """What `write` would do, after looking at its inputs."""
    if config.runs:
        names = [run.name for run in listed(config)]
        return f"index of {len(names)} runs in {config.runs}: {', '.join(names)}"
    run = read_run(Path(config.run))
    lines = [f"report on {len(run.frames)} frames to {config.output or run.path / 'report.html'}"]
    return "\n".join([*lines, *run.notes])


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(ReportConfig, run=write, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
