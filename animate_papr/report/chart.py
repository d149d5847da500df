"""Line charts as inline SVG, coloured by the page's style sheet, in light and in dark.

Written here because matplotlib's SVG has fixed colours and no tooltips, and is many times larger.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

HEIGHT = 240
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 14, 40


@dataclass(frozen=True)
class Line:
    """One line: points (x, y) in data units; a dot says its value when the pointer rests on it."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """What surrounds the lines. `x_names` replaces numbers under the axis; `marks` are x values."""

    x_label: str
    y_label: str
    logarithmic: bool = False
    x_names: Sequence[str] = ()
    marks: Sequence[float] = field(default_factory=list)
    width: int = 480  # in the units in which text is 12 high


def line_chart(lines: Sequence[Line], chart: Chart) -> str:
    """An SVG element, or "" where no line has a finite point."""
    usable = [(line, _finite(line, chart.logarithmic)) for line in lines]
    points = [p for _, kept in usable for p in kept]
    if not points:
        return ""
    ys = [_scale(y, chart) for _, y in points]
    x_low, x_high = _widened(min(x for x, _ in points), max(x for x, _ in points), 0.0)
    y_low, y_high = _widened(min(ys), max(ys), 0.06)

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (x - x_low) / (x_high - x_low) * (chart.width - LEFT - RIGHT)
        down = TOP + (y_high - _scale(y, chart)) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return round(right, 1), round(down, 1)

    parts = [_y_axis(chart, y_low, y_high, place), _x_axis(chart, x_low, x_high, place)]
    for mark in chart.marks:
        x, _ = place(mark, points[0][1])
        parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for number, (line, kept) in enumerate(usable):
        parts.append(_drawn(line, kept, [place(*p) for p in kept], number, chart))
    label = escape(f"{chart.y_label} against {chart.x_label}", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {chart.width} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Logarithms in [low, high] of 1, 2 and 5 times powers of ten, of fewer if these are many."""
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1, max(1, round((high - low) / 6)))
    logs = [k + math.log10(f) for k in decades for f in factors]
    return [x for x in logs if low <= x <= high]


def _finite(line: Line, logarithmic: bool) -> list[tuple[float, float]]:
    return [(x, y) for x, y in line.points if math.isfinite(y) and (y > 0 or not logarithmic)]


def _scale(y: float, chart: Chart) -> float:
    return math.log10(y) if chart.logarithmic else y


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    """A range with room around it; one that has no extent gets some."""
    room = (high - low) * share if high > low else max(abs(low) * 0.05, 0.5)
    return low - room, high + room


def _drawn(
    line: Line,
    points: Sequence[tuple[float, float]],
    places: Sequence[tuple[float, float]],
    number: int,
    chart: Chart,
) -> str:
    path = " ".join(f"{x},{y}" for x, y in places)
    parts = [f'<polyline class="line line{number}" points="{path}"/>']
    if line.dots or len(places) == 1:
        for (x, y), (across, value) in zip(places, points, strict=True):
            where = chart.x_names[int(across)] if chart.x_names else f"{across:g}"
            hint = escape(f"{where}: {line.name} {value:.4g}")
            parts.append(
                f'<circle class="dot dot{number}" cx="{x}" cy="{y}" r="4"><title>{hint}</title>'
                "</circle>"
            )
    return "".join(parts)


def _y_axis(chart: Chart, low: float, high: float, place) -> str:  # type: ignore[no-untyped-def]
    parts = []
    for tick in log_ticks(low, high) if chart.logarithmic else nice_ticks(low, high):
        value = 10.0**tick if chart.logarithmic else tick
        y = place(0.0, value)[1]
        text = f"{value:.2g}" if chart.logarithmic else f"{value:.4g}"
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{chart.width - RIGHT}" y1="{y}" y2="{y}"/>'
        )
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y_label)}</text>"
    )
    return "".join(parts)


def _x_axis(chart: Chart, low: float, high: float, place) -> str:  # type: ignore[no-untyped-def]
    if chart.x_names:
        stride = math.ceil(len(chart.x_names) / 11)
        ticks = [(float(k), chart.x_names[k]) for k in range(0, len(chart.x_names), stride)]
    else:
        ticks = [(tick, f"{tick:,.0f}") for tick in nice_ticks(low, high, 7)]
    base = HEIGHT - BOTTOM
    parts = [f'<line class="axis" x1="{LEFT}" x2="{chart.width - RIGHT}" y1="{base}" y2="{base}"/>']
    for value, text in ticks:
        x = place(value, 1.0)[0]
        parts.append(
            f'<text class="tick" x="{x}" y="{base + 16}" text-anchor="middle">{escape(text)}</text>'
        )
    parts.append(
        f'<text class="label" x="{(LEFT + chart.width - RIGHT) / 2}" y="{HEIGHT - 4}" '
        f'text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    return "".join(parts)
