"""The report's images, videos and point cloud; each returns "" where there is nothing to show."""

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from animate_papr.report.data import RunData
from animate_papr.report.images import ERROR_SCALE, data_uri, view_row
from animate_papr.report.tables import section

MAX_VIDEO_BYTES = 25_000_000
CAPTIONS = {
    "turntable": "First frame from all sides.",
    "animation": "The whole animation, seen from a moving camera.",
}


def part(name: str) -> str:
    """A file that lies beside this one, as text."""
    return (
        resources.files("animate_papr.report").joinpath("assets", name).read_text(encoding="utf-8")
    )


def notes_box(notes: Sequence[str]) -> str:
    """What is missing, in a box at the top."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<div class="notes"><ul>{items}</ul></div>' if items else ""


def video_section(run: RunData) -> str:
    """All videos of the run, playing in a loop."""
    order = {"animation": 0, "turntable": 1}
    parts = []
    for path in sorted(run.videos, key=lambda p: (order.get(p.stem, 2), p.stem)):
        caption = CAPTIONS.get(path.stem, escape(path.stem.replace("_", " ")))
        if path.stat().st_size > MAX_VIDEO_BYTES:
            parts.append(
                f"<p>{caption} Too large to be held here: <code>{escape(path.name)}</code></p>"
            )
            continue
        source = data_uri("video/mp4", path.read_bytes())
        parts.append(
            f'<figure><video controls loop autoplay muted playsinline src="{source}"></video>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    body = f'<div class="pair">{"".join(parts)}</div>' if parts else ""
    return section("Rendered", "Pictures of the trained model from cameras of our choice.", body)


def cloud_section(cloud: dict[str, Any] | None) -> str:
    """The viewer's frame and controls; viewer.js fills it."""
    if cloud is None:
        return ""
    total, every = max(cloud["total"]), cloud["every"]
    amount = f"{total:,} points" + (f", every {every}th of them shown" if every > 1 else "")
    hint = (
        f"{amount}. Drag to turn; click, then scroll to zoom; double-click to reset. Coloured by "
        "place in the first frame, every point keeps its colour, so one sees what was followed."
    )
    return section("The point cloud", hint, part("cloud.html"))


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread, with the first and the last."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]


def comparison_section(run: RunData, frames: int, views: int) -> str:
    """Ground truth beside prediction, error and depth, a tab per frame."""
    panels = []
    for frame in spread([f for f in run.frames if f.views], frames):
        found = ((view, view_row(frame, view)) for view in spread(frame.views, views))
        rows = [_comparison_row(view, row) for view, row in found if row]
        if rows:
            heads = ("ground truth", "prediction", "error", "depth")
            heading = "".join(f"<h3>{name}</h3>" for name in heads)
            panels.append(
                f'<div class="panel" data-name="{escape(frame.name, quote=True)}">'
                f'<div class="views">{heading}{"".join(rows)}</div></div>'
            )
    if not panels:
        return ""
    ramp = "linear-gradient(90deg,#08081e,#421668,#922a6e,#de5048,#faa550,#fdfac8)"
    judged = escape(run.judged_on[:1].upper() + run.judged_on[1:])
    hint = (
        f"{judged}. Error is the mean absolute difference of the colours: "
        f'0<span class="ramp" style="background:{ramp}"></span>{ERROR_SCALE:g} and more. '
        "Depth is bright where near."
    )
    return section(
        "Held-out views" if run.held_out else "Views",
        hint,
        f'<div class="tabs"></div>{"".join(panels)}',
    )


def _comparison_row(view: str, row: dict[str, Any]) -> str:
    captions = {"truth": escape(view), "prediction": f"{row['psnr']:.1f} dB"}
    cells = []
    for kind in ("truth", "prediction", "error", "depth"):
        if row[kind] is None:
            cells.append('<div class="none">none</div>')
            continue
        cells.append(
            f'<figure><img class="{kind}" src="{row[kind]}" alt="{kind} of {escape(view)}">'
            f"<figcaption>{captions.get(kind, '')}</figcaption></figure>"
        )
    return "".join(cells)
