"""Pictures of days as inline SVG, so that the page opens without a network: volume, hours, shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import ceil, sqrt

WIDTH, LEFT, BOTTOM, TOP = 1040, 64, 26, 14
WIDEST, LABEL_WIDTH = 44, 84
TYPE_COLOURS = {
    "impression": "#c5cbd3",
    "view": "#6b9bd1",
    "cart": "#e3a84a",
    "remove": "#a98f6b",
    "purchase": "#3f8f6b",
    "cancel": "#c2574b",
    "search": "#8d78b8",
}


class Days:
    """The horizontal axis all pictures of a page share: a column a day."""

    def __init__(self, days: Sequence[str]) -> None:
        self.days = days
        self.width = min((WIDTH - LEFT) / max(len(days), 1), WIDEST)

    def x(self, number: int) -> float:
        return LEFT + number * self.width

    def labels(self, height: float) -> str:
        every = max(1, ceil(LABEL_WIDTH / self.width))
        shown = range(len(self.days) - 1, -1, -every)
        return "".join(
            f'<text x="{min(self.x(n) + self.width / 2, WIDTH - 32):.1f}" y="{height - 8}" text-anchor="middle">'
            f"{self.days[n]}</text>"
            for n in shown
        )

    def bar(self, number: int, y: float, height: float, style: str, title: str) -> str:
        gap = 2 if self.width > 8 else 0.3
        size = f'x="{self.x(number):.1f}" y="{y:.1f}" width="{max(self.width - gap, 0.5):.1f}" height="{height:.1f}"'
        return f"<rect {size} {style}><title>{escape(title)}</title></rect>"


def volume_bars(
    days: Days,
    volumes: Mapping[str, int],
    classes: Mapping[str, str],
    bands: Mapping[str, tuple[float, float, float]],
    notes: Mapping[str, str],
) -> str:
    """Draws one bar a day, coloured by its class, over the band its trailing days let expect.

    Args:
        bands: low, middle and high of what was expected.
        notes: days with something to say, such as late rows; they get a mark.
    """
    height = 260
    plot = height - BOTTOM - TOP
    highest = max([*volumes.values(), 1])
    # A wide band on a noisy shop shall not squeeze the bars.
    top = max(highest, min(max((high for *_, high in bands.values()), default=0), 1.3 * highest))
    parts = [_axis(plot, f"{top:,.0f}", f"{top / 2:,.0f}", "0"), days.labels(height)]
    for number, day in enumerate(days.days):
        volume, kind = volumes.get(day, 0), classes.get(day, "passed")
        if day in bands:
            low, _, high = (plot * min(value, top) / top for value in bands[day])
            title = "usual: {:,.0f} to {:,.0f}, expected {:,.0f}".format(*(bands[day][n] for n in (0, 2, 1)))
            parts.append(days.bar(number, TOP + plot - high, high - low, 'class="band"', f"{day}: {title}"))
        tall = plot * volume / top
        words = f"{day}: {volume:,} events, {kind}" + (f"; {notes[day]}" if day in notes else "")
        parts.append(_inner(days, number, TOP + plot - tall, tall, kind, words))
        parts.append(_marks(days, number, plot, top, bands.get(day), notes.get(day, "")))
    return _svg("Events by day", height, parts)


def _inner(days: Days, number: int, y: float, height: float, kind: str, title: str) -> str:
    inset = days.width * 0.16
    x, width = days.x(number) + inset, max(days.width * 0.62, 0.5)
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {size} class="{kind}"><title>{escape(title)}</title></rect>'


def _marks(days: Days, number: int, plot: float, top: float, band: tuple[float, float, float] | None, note: str) -> str:
    middle, marks = days.x(number) + days.width * 0.47, ""
    if band:
        y = TOP + plot * (1 - min(band[1], top) / top)
        ends = f'x1="{days.x(number):.1f}" x2="{days.x(number) + days.width - 0.5:.1f}"'
        marks += f'<line class="expected" {ends} y1="{y:.1f}" y2="{y:.1f}"/>'
    if note:
        shape = f"M{middle - 4:.1f},2 h8 l-4,8 z"
        marks += f'<path class="note" d="{shape}"><title>{escape(note)}</title></path>'
    return marks


def hour_strip(days: Days, hours: Mapping[str, Mapping[int, int]], missing: Mapping[str, Iterable[int]]) -> str:
    """Draws an hour of the clock a row: the darker, the more events; a missing hour is red.

    Args:
        hours: events by the hour a clock shows.
        missing: hours, as a clock shows them, that ought to hold events.
    """
    tall, height = 9, 24 * 9 + BOTTOM + TOP
    most = max((count for counts in hours.values() for count in counts.values()), default=1) or 1
    scale = "".join(
        f'<text class="scale" x="{LEFT - 8}" y="{TOP + hour * tall + 8}">{hour:02}:00</text>'
        for hour in range(0, 24, 4)
    )
    parts = [scale, days.labels(height)]
    for number, day in enumerate(days.days):
        lost = set(missing.get(day, ()))
        for hour, count in hours.get(day, {}).items():
            style = 'class="missing"' if hour in lost else f'class="heat" fill-opacity="{sqrt(count / most):.2f}"'
            if count or hour in lost:
                words = f"{day} {hour:02}:00: {count:,} events" + (", missing" if hour in lost else "")
                parts.append(days.bar(number, TOP + hour * tall, tall - 1, style, words))
    return _svg("Events by hour of the shop's day", height, parts)


def share_bars(days: Days, types: Mapping[str, Mapping[str, int]]) -> str:
    """Draws one full bar a day, parted by the shares of its event types."""
    height = 180
    plot = height - BOTTOM - TOP
    parts = [_axis(plot, "100 %", "50 %", "0"), days.labels(height)]
    for number, day in enumerate(days.days):
        counts, y = types.get(day, {}), float(TOP)
        total = sum(counts.values())
        for name in TYPE_COLOURS:
            if count := counts.get(name, 0):
                tall = plot * count / total
                words = f"{day}: {name} {count:,} ({count / total:.1%})"
                parts.append(days.bar(number, y, tall, f'fill="{TYPE_COLOURS[name]}"', words))
                y += tall
    return _svg("Shares of event types by day", height, parts)


def _axis(plot: float, *labels: str) -> str:
    rows = list(zip((TOP, TOP + plot / 2, TOP + plot), labels, strict=True))
    lines = "".join(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y}" y2="{y}"/>' for y, _ in rows)
    return lines + "".join(f'<text class="scale" x="{LEFT - 8}" y="{y + 4}">{escape(text)}</text>' for y, text in rows)


def _svg(label: str, height: float, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
