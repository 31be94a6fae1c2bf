"""One small picture a column: today's distribution over that of the trailing days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pipeline.validate.bins import in_order
from pipeline.validate.drift import pooled
from pipeline.validate.summary import Bins, Summary
from pipeline.validate.trail import Comparison, psi_of

WIDTH, HEIGHT, BOTTOM, TOP, LEFT = 340, 166, 58, 8, 30
MOST_BINS = 24


@dataclass(frozen=True)
class Panel:
    """One column of the day the page looks at closely.

    Attributes:
        psi: None where there is too little to judge by.
        usual: what nine in ten trailing days stay below.
    """

    title: str
    psi: float | None
    usual: float | None
    rows: int
    picture: str


def panels_of(own: Summary, window: Sequence[Summary], held: Comparison | None) -> list[Panel]:
    """Returns a panel for every column with values, the farthest drifted first.

    Args:
        held: what rules judged the day by; None while it is warming up.
    """
    columns = [(table, column) for table, found in own.distributions.items() for column in found]
    panels = [_panel(own, window, held, table, column) for table, column in columns]
    return sorted((panel for panel in panels if panel), key=lambda panel: -(-1 if panel.psi is None else panel.psi))


def _panel(own: Summary, window: Sequence[Summary], held: Comparison | None, table: str, column: str) -> Panel | None:
    bins = own.bins(table, column)
    days = [found for each in window if (found := each.bins(table, column))]
    if len(bins) < 2 and len({name for day in days for name in day}) < 2:
        return None
    trailing, (drifted, usual) = pooled(days), (held and psi_of(held, table, column)) or (None, None)
    title = ("catalogue: " if table == "catalogue" else "") + column.replace("_", " ")
    title += " (visitors)" if column == "hour" else ""
    return Panel(title, drifted, usual, sum(bins.values()), _picture(title, column, bins, trailing))


def _picture(title: str, column: str, bins: Bins, trailing: Mapping[str, float]) -> str:
    order = in_order(column, {name: max(bins.get(name, 0), trailing.get(name, 0)) for name in {**trailing, **bins}})
    order = order[:MOST_BINS]
    own, past = _shares(bins, order), _shares(trailing, order)
    most = max([*own.values(), *past.values(), 1e-9])
    width, plot = (WIDTH - LEFT) / max(len(order), 1), HEIGHT - BOTTOM - TOP
    parts = []
    for number, name in enumerate(order):
        x = LEFT + number * width
        words = escape(f"{name}: {own[name]:.1%} today, {past[name]:.1%} in the trailing days")
        for share, inset, kind in ((past[name], 0.08, "then"), (own[name], 0.28, "now")):
            tall = plot * share / most
            size = f'x="{x + inset * width:.1f}" y="{TOP + plot - tall:.1f}" width="{width * (1 - 2 * inset):.1f}"'
            parts.append(f'<rect class="{kind}" {size} height="{tall:.1f}"><title>{words}</title></rect>')
        parts.append(_label(name, x + width / 2, width))
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{TOP + plot}" y2="{TOP + plot}"/>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _shares(bins: Mapping[str, float], order: Sequence[str]) -> dict[str, float]:
    total = sum(bins.values()) or 1
    return {name: bins.get(name, 0) / total for name in order}


def _label(name: str, x: float, width: float) -> str:
    y, short = HEIGHT - BOTTOM + 12, name if len(name) <= 10 else name[:9] + "…"
    if width > 7 * len(short):
        return f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(short)}</text>'
    return f'<text transform="translate({x + 3:.1f},{y - 4}) rotate(-52)" text-anchor="end">{escape(short)}</text>'
