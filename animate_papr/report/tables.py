"""The report's tables, charts and words; each returns "" where there is nothing to show."""

import math
from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Any

from animate_papr.report.chart import Chart, Line, line_chart
from animate_papr.report.data import FrameData, RunData

CURVE_POINTS = 250  # per frame; longer logs are averaged in groups
DASH = "\u2013"
# There or not by the dataset; a missing LPIPS is worth a column of dashes, these are not.
OPTIONAL = ("depth_mae", "track_mean", "track_p90", "track_motion")
COLUMNS = {
    "psnr": "PSNR / dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "depth_mae": "depth error",
    "track_mean": "tracking error / %",
    "track_p90": "90th percentile / %",
    "track_motion": "true motion / %",
    "num_points": "points",
    "steps": "steps",
    "seconds": "seconds",
    "peak_memory_bytes": "peak memory",
}


def number(value: Any, form: str) -> str:
    """A figure as text, an en dash where there is none."""
    usable = isinstance(value, int | float) and math.isfinite(value)
    return format(value, form) if usable else DASH


def duration(seconds: Any) -> str:
    """Seconds in words for people: 48 s, 12 min 5 s, 3 h 20 min."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def section(title: str, hint: str, body: str) -> str:
    """A card with a heading."""
    return f'<section><h2>{title}</h2><p class="hint">{hint}</p>{body}</section>' if body else ""


def figures(run: RunData, name: str) -> list[float]:
    """A figure of all finished frames, in order; frames without it are left out."""
    return _figures_of(run.frames, name)


def averaged(run: RunData, name: str) -> list[float]:
    """The figures whose mean is shown: those of tracking without the first frame's, which are zero
    because points are followed from there.
    """
    return _figures_of(run.frames[1:] if name.startswith("track_") else run.frames, name)


def _figures_of(frames: Sequence[FrameData], name: str) -> list[float]:
    values = [frame.figures.get(name) for frame in frames]
    return [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]


def quality_section(run: RunData) -> str:
    """Table and charts of the figures of each frame."""
    finished = [f for f in run.frames if "psnr" in f.figures]
    if not finished:
        return ""
    names = [f.name.removeprefix("frame_") for f in finished]
    charts = []
    for key, label in (("psnr", "PSNR / dB"), ("ssim", "SSIM")):
        values = [f.figures.get(key) for f in finished]
        points = [(float(k), float(v)) for k, v in enumerate(values) if v is not None]
        chart = line_chart([Line(label, points, dots=True)], Chart("frame", label, x_names=names))
        charts.append(f"<div>{chart}</div>")
    keys = [key for key in COLUMNS if key not in OPTIONAL or figures(run, key)]
    heads = "".join(f"<th>{text}</th>" for text in ("frame", *(COLUMNS[key] for key in keys)))
    rows = "".join(_table_row(f, keys) for f in run.frames)
    mean = [_mean_cell(run, key) for key in keys]
    table = (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot><tr><td>mean</td>{''.join(mean)}</tr></tfoot></table></div>"
    )
    hint = (
        "Means over all held-out views of a frame. A dash: not measured, never replaced. Depth "
        "error is absolute, in units of the object's longest side."
    )
    if figures(run, "track_mean"):
        hint += (
            " Tracking error: how far points of the surface are carried from where the asset has "
            "them, in % of the object's length; true motion is their way since the first frame. "
            "Their means are over the later frames."
        )
    return section("Quality per frame", hint, f'<div class="pair">{"".join(charts)}</div>{table}')


def _cell_text(key: str, value: Any) -> str:
    if key == "peak_memory_bytes" and isinstance(value, int | float):
        return f"{value / 2**20:,.0f} MiB"
    if key.startswith("track_") and isinstance(value, int | float):
        return number(100.0 * value, ".2f")
    forms = {"psnr": ".2f", "ssim": ".4f", "lpips": ".4f", "depth_mae": ".4f", "seconds": ",.1f"}
    return number(value, forms.get(key, ",.0f"))


def _table_row(frame: FrameData, keys: Sequence[str]) -> str:
    cells = [_cell_text(key, frame.figures.get(key)) for key in keys]
    shown = "".join(f"<td{' class=absent' if c == DASH else ''}>{c}</td>" for c in cells)
    return f"<tr><td>{escape(frame.name)}</td>{shown}</tr>"


def _mean_cell(run: RunData, key: str) -> str:
    values = averaged(run, key)
    return f"<td>{_cell_text(key, sum(values) / len(values) if values else None)}</td>"


def training_section(run: RunData) -> str:
    """The loss over the steps of all frames, one after the other."""
    points: list[tuple[float, float]] = []
    borders: list[float] = []
    start = 0.0
    for frame in run.frames:
        if not frame.losses:
            continue
        if start:
            borders.append(start)
        points += [(start + step, loss) for step, loss in thinned(frame.losses)]
        start += max(frame.losses[-1][0], float(frame.figures.get("steps") or 0))
    points = without_blanks(points)
    chart = Chart("step, all frames in a row", "loss", logarithmic=True, marks=borders, width=980)
    hint = "Training loss of the logged steps; a dotted line is where the next frame begins."
    return section("Training", hint, line_chart([Line("loss", points)], chart))


def without_blanks(losses: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(step, loss) without losses far below the usual one.

    A patch that shows nothing but background can have a loss of 1e-17 and would flatten the rest.
    """
    floor = 1e-3 * median(loss for _, loss in losses) if losses else 0.0
    return [(step, loss) for step, loss in losses if loss >= floor]


def thinned(losses: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most CURVE_POINTS points of a curve, the others averaged into them."""
    group = max(1, -(-len(losses) // CURVE_POINTS))
    parts = [losses[k : k + group] for k in range(0, len(losses), group)]
    return [(p[-1][0], sum(loss for _, loss in p) / len(p)) for p in parts]


def provenance_section(run: RunData) -> str:
    """What was run: command, code, machine, dataset and the whole configuration."""
    environment, info = run.environment, run.dataset_info
    commit = environment.get("git_commit")
    dirty = " with uncommitted changes" if environment.get("git_dirty") else ""
    found = environment.get("packages")
    packages = found if isinstance(found, dict) else {}
    # "when", "commit", then the command: the last start of a run that was continued.
    command = run.command.splitlines()[-1].split(" ", 2)[-1] if run.command else None
    rig, size = info.get("rig"), info.get("resolution")
    facts = {
        "command": f"<code>{escape(command)}</code>" if command else None,
        "run folder": escape(str(run.path)),
        "code": escape(str(commit)) + dirty if commit else None,
        "machine": _words(environment.get("device"), environment.get("platform")),
        "software": _words(
            f"Python {environment['python']}" if "python" in environment else None,
            *(f"{name} {packages[name]}" for name in ("torch", "numpy") if name in packages),
        ),
        "dataset": escape(str(run.dataset or run.summary.get("dataset") or "")),
        "asset": _words(info.get("asset"), info.get("action")),
        "asset sha256": _words(info.get("asset_sha256")),
        "pictures": _words(" x ".join(map(str, size)) if isinstance(size, list) else size),
        "views per frame": _words(
            *(f"{rig[k]} {k}" for k in ("train", "val", "test") if k in rig)
            if isinstance(rig, dict)
            else ()
        ),
        "source": _words(info.get("source")),
    }
    rows = "".join(f"<tr><td>{k}</td><td>{v}</td></tr>" for k, v in facts.items() if v)
    body = (
        f'<table class="facts">{rows}</table><details><summary>Whole configuration</summary>'
        f"<pre>{escape(run.config_text)}</pre></details>"
    )
    return section("What was run", "Enough to run it again.", body)


def _words(*parts: Any) -> str:
    return escape(", ".join(str(p) for p in parts if p))


def limits_section(run: RunData, cloud: dict[str, Any] | None) -> str:
    """What the figures above do not say."""
    limits = [
        "PSNR and SSIM are measured on pictures of the same rig, light and renderer as the "
        "training pictures; other light or other distances were not tried.",
        "White background counts: the smaller the object in the picture, the higher the PSNR.",
    ]
    finished = [f for f in run.frames if "psnr" in f.figures]
    if finished and not figures(run, "lpips"):
        limits.append("LPIPS was not measured: its network's weights were not at hand.")
    psnr = figures(run, "psnr")
    if psnr[1:] and psnr[0] - min(psnr) > 1.0:
        limits.append(
            f"The worst frame is {psnr[0] - min(psnr):.1f} dB below the first: details that the "
            "first frame did not show, or motion too large for the steps given, are lost."
        )
    if cloud is not None:
        limits.append(
            "Points have features, not colours. The colours shown are means of what the model "
            "renders where a point lies on the visible surface. Some points lie inside."
        )
    if len(run.frames) > 1 and not figures(run, "track_mean"):
        limits.append("Paths of points were not measured: the dataset has no true ones.")
    if len(run.frames) > 1:
        limits.append("Moments between frames are straight lines from point to point.")
    items = "".join(f"<li>{escape(limit)}</li>" for limit in limits)
    return section("Limits", "What these figures do not say.", f'<ul class="limits">{items}</ul>')


def _short(words: str) -> str:
    """Units in small letters beside their numbers."""
    return " ".join(w if w.isdigit() else f"<small>{w}</small>" for w in words.split(" "))


def tiles(run: RunData) -> str:
    """The few figures that matter most."""
    psnr, ssim, seconds = (figures(run, name) for name in ("psnr", "ssim", "seconds"))
    points = figures(run, "num_points")
    tracked = averaged(run, "track_mean")
    tracking = (
        {"tracking error": f"{100.0 * sum(tracked) / len(tracked):.1f} <small>%</small>"}
        if tracked
        else {}
    )
    shown = {
        "frames": f"{len(run.frames)}",
        "mean PSNR": f"{sum(psnr) / len(psnr):.1f} <small>dB</small>" if psnr else DASH,
        "worst frame": f"{min(psnr):.1f} <small>dB</small>" if psnr else DASH,
        "first to last": f"{psnr[-1] - psnr[0]:+.1f} <small>dB</small>" if psnr[1:] else DASH,
        "mean SSIM": f"{sum(ssim) / len(ssim):.3f}" if ssim else DASH,
        **tracking,
        "points": f"{points[-1]:,.0f}" if points else DASH,
        "training": _short(duration(sum(seconds))) if seconds else DASH,
    }
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown.items())
