"""One page on all runs below a folder: a table to sort, videos side by side, curves of every term.

Figures, curves and thumbnails are in the page; videos and reports are links beside it, so the page
stays small and must stay where it was written.
"""

import io
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from animate_papr.report.chart import Chart, Line, line_chart
from animate_papr.report.images import data_uri
from animate_papr.report.run_list import FIGURES, ListedRun
from animate_papr.report.sections import part
from animate_papr.report.tables import DASH, duration, number, section, thinned, without_blanks
from animate_papr.report.templates import filled

THUMBNAIL = 72  # pixels
LINES = 8  # runs in one chart: more colours cannot be told apart
FORMS = {"psnr": ".2f", "ssim": ".4f", "lpips": ".4f", "frames": ".0f", "steps": ",.0f"}
HEADS = ("", "run", "phase", "PSNR / dB", "SSIM", "LPIPS", "frames", "steps", "time", "started")


def render_index(runs: Sequence[ListedRun], folder: Path, page: Path) -> str:
    """The page as HTML text; `page` is the file it will be."""
    sections = [
        table_section(runs, page),
        players_section(runs, page),
        curves_section(runs),
        commands_section(runs),
    ]
    unfinished = sum(not run.finished for run in runs)
    lead = f"{len(runs)} runs below <code>{escape(str(folder))}</code>, {unfinished} not finished."
    return filled(
        part("template.html"),
        title=escape(folder.resolve().name),
        kind="Runs",
        holds="Videos and reports are files beside it.",
        lead=lead,
        notes="",
        tiles="",
        sections="\n".join(filter(None, sections)),
        style=part("style.css"),
        script=part("index.js"),
    )


def link(path: Path, page: Path) -> str:
    """A file as the page names it: relative, so that the folder may be moved or sent."""
    return quote(Path(os.path.relpath(path.resolve(), page.resolve().parent)).as_posix())


def table_section(runs: Sequence[ListedRun], page: Path) -> str:
    """The table; index.js sorts it by the column that is clicked."""
    heads = "".join(
        f'<th><button type="button">{text}</button></th>' if text else "<th></th>" for text in HEADS
    )
    rows = "".join(_row(run, page) for run in runs)
    body = (
        f'<div class="scroll"><table class="runs"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    hint = "A click on a heading sorts. A dash: not measured. Means are over finished frames."
    return section("Runs", hint, body if rows else "")


def _row(run: ListedRun, page: Path) -> str:
    name = escape(run.name)
    if run.report is not None:
        name = f'<a href="{link(run.report, page)}">{name}</a>'
    state = "" if run.finished else " <small>not finished</small>"
    cells = [(f"{name}{state}", run.name), (escape(run.phase), run.phase)]
    for key in (*FIGURES, "frames", "steps"):
        value = run.figures.get(key)
        cells.append((number(value, FORMS[key]), "" if value is None else repr(value)))
    seconds = run.figures.get("seconds")
    cells.append((duration(seconds), "" if seconds is None else repr(seconds)))
    cells.append((escape(run.started[:16].replace("T", " ")) or DASH, run.started))
    shown = "".join(
        f'<td data-value="{escape(value, quote=True)}">{text}</td>' for text, value in cells
    )
    return f"<tr><td>{_thumbnail(run.image)}</td>{shown}</tr>"


def _thumbnail(path: Path | None) -> str:
    """A small picture in the page, "" where there is none or it cannot be read."""
    if path is None:
        return ""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except OSError:
        return ""
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85)
    return f'<img src="{data_uri("image/jpeg", content.getvalue())}" alt="">'


def players_section(runs: Sequence[ListedRun], page: Path) -> str:
    """Videos side by side, all at the same moment; nothing is loaded before it is chosen."""
    with_videos = [run for run in runs if run.videos]
    boxes = []
    for count, run in enumerate(with_videos):
        videos = " ".join(f"{v.stem}={link(v, page)}" for v in run.videos)
        on = " checked" if count < 2 else ""
        boxes.append(
            f'<label><input type="checkbox" data-videos="{escape(videos, quote=True)}" '
            f'data-name="{escape(run.name, quote=True)}"{on}> {escape(run.name)}</label>'
        )
    kinds = dict.fromkeys(video.stem for run in with_videos for video in run.videos)
    options = "".join(f"<option>{escape(kind)}</option>" for kind in kinds)
    body = (
        f'<div class="controls"><label>video <select id="kind">{options}</select></label>'
        f'<button type="button" id="restart">from the start</button></div>'
        f'<div class="choices">{"".join(boxes)}</div><div id="players" class="pair"></div>'
    )
    return section(
        "Side by side", "Choose runs; their videos play together.", body if boxes else ""
    )


def curves_section(runs: Sequence[ListedRun]) -> str:
    """A chart for every logged term of every phase, a line a run."""
    parts = []
    for phase in dict.fromkeys(run.phase for run in runs):
        logged = [run for run in runs if run.phase == phase and run.curves]
        shown = logged[:LINES]
        terms = dict.fromkeys(key for run in shown for key in run.curves)
        charts = [f"<div>{_chart(term, shown)}</div>" for term in terms]
        if not charts:
            continue
        legend = "".join(
            f'<span><svg width="18" height="8"><line class="line line{k}" x1="0" x2="18" y1="4" '
            f'y2="4"/></svg> {escape(run.name)}</span>'
            for k, run in enumerate(shown)
        )
        more = len(logged) - len(shown)
        rest = f"<p class=hint>The newest {LINES} of {len(logged)} runs.</p>" if more > 0 else ""
        parts.append(
            f'<h3>{escape(phase)}</h3>{rest}<div class="legend">{legend}</div>'
            f'<div class="pair">{"".join(charts)}</div>'
        )
    hint = "Every logged loss and validation figure; an animation's frames follow each other."
    return section("Curves", hint, "".join(parts))


def _chart(term: str, runs: Sequence[ListedRun]) -> str:
    is_loss = term.startswith("loss/")
    curves = [thinned(run.curves.get(term, [])) for run in runs]
    # A run without the term keeps its place, so that colours mean the same in every chart.
    lines = [
        Line(run.name, without_blanks(curve) if is_loss else curve)
        for run, curve in zip(runs, curves, strict=True)
    ]
    return line_chart(lines, Chart("step", term, logarithmic=is_loss))


def commands_section(runs: Sequence[ListedRun]) -> str:
    """How to start each run again."""
    commands = "".join(
        f"<h4>{escape(run.name)}</h4><pre>{escape(run.command)}</pre>"
        for run in runs
        if run.command
    )
    hint = "Each run's last command. The same command continues a run that is not finished."
    return section("How to run them again", hint, commands)
