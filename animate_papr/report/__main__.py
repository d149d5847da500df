"""`python -m animate_papr.report`: one HTML file that shows what a run made and how good it is.

The file holds its images, videos and point clouds itself and needs no network to be opened.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from animate_papr.report.data import RunData, read_run
from animate_papr.report.images import cloud_data
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
from training_core.cli import run_command
from training_core.config import MISSING, option
from training_core.files.atomic import write_text

logger = logging.getLogger(__name__)


@dataclass
class ReportConfig:
    """Which run, and how much of it is shown."""

    run: str = option(MISSING, "run folder of animate_papr.train; it may be unfinished")
    output: str = option("", "HTML file to write; empty = report.html in the run folder")
    frames: int = option(8, "frames shown as ground truth beside prediction, evenly spread")
    views: int = option(3, "held-out views shown per frame, evenly spread")

    def validate(self) -> None:
        """Raises ValueError where nothing would be shown."""
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
    data = "" if cloud is None else _json_script("cloud-data", cloud)
    return _filled(
        part("template.html"),
        title=escape(run.path.resolve().name),
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


def _filled(template: str, **values: str) -> str:
    """The template with {{name}} replaced; what is put in is not searched again."""
    pieces = template.split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        out += [values[name], rest]
    return "".join(out)


def _json_script(name: str, content: object) -> str:
    # "</" would end the script element, "<!--" begin a comment in it.
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def write_report(config: ReportConfig) -> None:
    """Read the run and write the report."""
    run = read_run(Path(config.run))
    output = Path(config.output or run.path / "report.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, render_report(run, config.frames, config.views))
    for note in run.notes:
        logger.warning("%s", note)
    logger.info("report: %s (%.1f MB)", output.resolve(), output.stat().st_size / 1e6)


def plan(config: ReportConfig) -> str:
    """What `write_report` would do, after looking at its inputs."""
    run = read_run(Path(config.run))
    lines = [f"report on {len(run.frames)} frames to {config.output or run.path / 'report.html'}"]
    return "\n".join([*lines, *run.notes])


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(
        ReportConfig, run=write_report, plan=plan, description=__doc__ or "", argv=argv
    )


if __name__ == "__main__":
    raise SystemExit(main())
