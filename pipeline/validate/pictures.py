"""Pictures of the page as inline SVG, so that it opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from html import escape
from math import ceil

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 960, 220, 64, 26, 10
WIDEST = 90
PLOT_HEIGHT = HEIGHT - BOTTOM - TOP
TYPE_COLOURS = {
    "impression": "#c5cbd3",
    "view": "#6b9bd1",
    "cart": "#e3a84a",
    "remove": "#a98f6b",
    "purchase": "#3f8f6b",
    "cancel": "#c2574b",
    "search": "#8d78b8",
}


def volume_bars(volumes: Mapping[str, int], classes: Mapping[str, str], medians: Mapping[str, float]) -> str:
    """Draws one bar a day, coloured by its class, and the trailing median as a line."""
    top = max([*volumes.values(), *medians.values(), 1])
    width = _width(volumes)
    parts = [_axis(top, f"{top:,.0f}", f"{top / 2:,.0f}"), _labels(list(volumes), width)]
    line = []
    for number, (day, volume) in enumerate(volumes.items()):
        x, height = LEFT + number * width, PLOT_HEIGHT * volume / top
        title = f"{day}: {volume:,} events, {classes.get(day, 'passed')}"
        parts.append(_bar(x, TOP + PLOT_HEIGHT - height, width, height, f'class="{classes.get(day, "passed")}"', title))
        if day in medians:
            y = TOP + PLOT_HEIGHT * (1 - medians[day] / top)
            line.append(f"{x:.1f},{y:.1f} {x + width:.1f},{y:.1f}")
    parts.append(f'<polyline class="median" points="{" ".join(line)}"/>')
    return _svg("Events by day", parts)


def share_bars(types: Mapping[str, Mapping[str, int]]) -> str:
    """Draws one full bar a day, parted by the shares of its event types."""
    width = _width(types)
    parts = [_axis(1, "100 %", "50 %"), _labels(list(types), width)]
    for number, (day, counts) in enumerate(types.items()):
        total, y = sum(counts.values()), float(TOP)
        for name, count in ((name, counts.get(name, 0)) for name in TYPE_COLOURS):
            if not count:
                continue
            height = PLOT_HEIGHT * count / total
            title = f"{day}: {name} {count:,} ({count / total:.1%})"
            parts.append(_bar(LEFT + number * width, y, width, height, f'fill="{TYPE_COLOURS[name]}"', title))
            y += height
    return _svg("Shares of event types by day", parts)


def _width(days: Sized) -> float:
    return min((WIDTH - LEFT) / max(len(days), 1), WIDEST)


def _bar(x: float, y: float, width: float, height: float, style: str, title: str) -> str:
    gap = 1 if width > 4 else 0.15
    size = f'x="{x:.2f}" y="{y:.2f}" width="{max(width - gap, 0.5):.2f}" height="{height:.2f}"'
    return f"<rect {size} {style}><title>{escape(title)}</title></rect>"


def _axis(top: float, full: str, half: str) -> str:
    rows = ((TOP, full), (TOP + PLOT_HEIGHT / 2, half), (TOP + PLOT_HEIGHT, "0"))
    lines = "".join(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}"/>' for y, _ in rows)
    return lines + "".join(f'<text class="scale" x="{LEFT - 8}" y="{y + 4}">{escape(text)}</text>' for y, text in rows)


def _labels(days: Sequence[str], width: float) -> str:
    every = max(1, ceil(WIDEST / width))
    shown = range(0, len(days), every)
    return "".join(f'<text x="{LEFT + n * width:.1f}" y="{HEIGHT - 8}">{escape(days[n])}</text>' for n in shown)


def _svg(label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH + 30} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
