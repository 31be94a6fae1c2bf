"""The picture of the choice: recall kept of float32's against p99 and against bytes, with intervals, points numbered.

The names of twenty recipes do not fit between their points; the key beside them says what each number is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.sections import Optimize
from pipeline.model.recipe_table import YARDSTICK, rank
from pipeline.optimize.choose import MEGA
from pipeline.optimize.measuring.row import Row
from pipeline.optimize.telling.labels import free_places
from pipeline.optimize.telling.last_night import LastNight

COLOURS = {"chosen": "#0b7a4b", "front": "#2b5fa8", "rejected": "#8a8f98", "failed": "#b3261e", "not tried": "#8a8f98"}
TEXT = {**COLOURS, "rejected": "#5b616b"}
INK, GRID, FAINT, ALARM = "#1f2430", "#e6e8ec", "#6b7280", "#b3261e"
SHOWN_BUDGETS = 5
"""What lost more than so many budgets stands at the lower edge, or it would press all others together."""
WIDTH = 12.6
"""Inches; wider, and a page would shrink its text."""
WIDE = 6
"""A p99 that spans more than so many times is drawn on a logarithmic axis."""


class Span(NamedTuple):
    """An estimate with the ends of its interval."""

    at: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One recipe on both panels; kept in percent of float32's recall, p99 in ms, size in MB."""

    number: str
    row: Row
    kept: Span
    p99: Span
    size: Span


def draw(
    rows: Sequence[Row], k: int, budgets: Optimize, folder: Path, last: LastNight | None = None, noisy: str = ""
) -> None:
    """Writes `pareto.svg` and `pareto.png`; the same rows give the same bytes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    listed = sorted(rows, key=lambda row: rank(row.verdict, row.bytes))
    yardstick = next(row for row in rows if row.recipe == YARDSTICK)
    points = [_point(str(n), row, yardstick) for n, row in enumerate(listed, start=1) if row.recall]
    before = _point("", last.chosen, last.yardstick) if last else None
    style = {"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "pareto", "svg.fonttype": "path"}
    with plt.rc_context(style):
        height = max(5.6, 2.4 + 0.27 * len(listed))
        figure = plt.figure(figsize=(WIDTH, height))
        left, right = (figure.add_axes((x, 0.115, 0.278, 0.7)) for x in (0.058, 0.36))
        _panel(left, points, before, budgets, "p99", noisy)
        _panel(right, points, before, budgets, "size", "")
        _dress(left, right, k)
        _head(figure, points, noisy)
        _key(figure.add_axes((0.658, 0.03, 0.338, 0.8)), listed, points, last)
        figure.savefig(folder / "pareto.svg", metadata={"Date": None})
        figure.savefig(folder / "pareto.png", dpi=150)
        plt.close(figure)


def _point(number: str, row: Row, yardstick: Row) -> Point:
    whole, difference = yardstick.recall.mean or 1.0, row.difference
    kept = Span(*(100 * (1 + value / whole) for value in (difference.mean, difference.low, difference.high)))
    p99, size = row.p99_interval, row.bytes / MEGA
    return Point(number, row, kept, Span(p99.mean, p99.low, p99.high), Span(size, size, size))


def _panel(axes: Any, points: Sequence[Point], before: Point | None, budgets: Optimize, x: str, noisy: str) -> None:
    drawn = [*points, *([before] if before else [])]
    edge = _lower_edge(drawn, budgets)
    _scale(axes, [getattr(point, x) for point in drawn], log=x == "size")
    axes.set_ylim(edge, _upper_edge(drawn, edge))
    axes.axhline(100 * (1 - budgets.max_recall_loss), color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.axhline(100, color=FAINT, linewidth=0.8, zorder=1)
    for point in drawn:
        _mark(axes, point, getattr(point, x), edge, hollow=point is before)
    places = [(getattr(point, x).at, max(point.kept.at, edge)) for point in drawn]
    labels = [_name(point) for point in drawn]
    colours = [_colour(point, hollow=point is before) for point in drawn]
    _label(axes, places, labels, colours)
    if noisy:
        axes.text(0.5, 0.985, "noisy: decides nothing", transform=axes.transAxes, ha="center", va="top", color=ALARM)


def _lower_edge(points: Sequence[Point], budgets: Optimize) -> float:
    lowest = 100 * (1 - SHOWN_BUDGETS * max(budgets.max_recall_loss, 0.004))
    shown = [point.kept.low for point in points if point.kept.at >= lowest]
    return max(lowest, min([*shown, 100 * (1 - budgets.max_recall_loss)])) - 0.25


def _upper_edge(points: Sequence[Point], edge: float) -> float:
    highest = max([100.0, *(point.kept.high for point in points)])
    return highest + 0.1 * (highest - edge)


def _scale(axes: Any, spans: Sequence[Span], log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    least, most = min(span.low for span in spans), max(span.high for span in spans)
    if log or most > WIDE * least:
        axes.set_xscale("log")
        axes.set_xlim(least / 1.25, most * 1.25)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.12 * (most - least or most)
        axes.set_xlim(max(0.0, least - room), most + room)


def _arms(span: Span) -> list[list[float]]:
    """Returns how far an interval reaches below and above; the ends of a mean's may miss it by a rounding."""
    return [[max(0.0, span.at - span.low)], [max(0.0, span.high - span.at)]]


def _mark(axes: Any, point: Point, x: Span, edge: float, hollow: bool) -> None:
    row, kept = point.row, point.kept
    colour = _colour(point, hollow)
    if kept.at < edge:
        axes.plot(x.at, edge, marker="v", color=colour, markersize=8, clip_on=False, zorder=3)
        return
    chosen = row.verdict == "chosen"
    axes.errorbar(
        x.at,
        kept.at,
        xerr=_arms(x),
        yerr=_arms(kept),
        fmt="*" if chosen else "D" if row.recipe == YARDSTICK else "o",
        markersize=17 if chosen else 7,
        markerfacecolor="white" if hollow else colour,
        markeredgecolor=colour if hollow or not chosen else "white",
        markeredgewidth=1.3 if hollow else 0.8,
        ecolor=(colour, 1.0 if chosen else 0.3),
        elinewidth=1.3 if chosen else 1,
        zorder={"chosen": 5, "front": 4}.get(row.verdict, 3) - hollow,
    )


def _name(point: Point) -> str:
    if not point.number:
        return "last night"
    return YARDSTICK if point.row.recipe == YARDSTICK else point.number


def _colour(point: Point, hollow: bool) -> str:
    if hollow:
        return FAINT
    own = point.row.recipe == YARDSTICK and point.row.verdict == "rejected"
    return INK if own else COLOURS[point.row.verdict]


def _label(axes: Any, places: Sequence[tuple[float, float]], labels: Sequence[str], colours: Sequence[str]) -> None:
    """Numbers each point where nothing else stands, tied to it by a line where that is not close by."""
    from matplotlib.patheffects import withStroke

    figure = axes.figure
    at_P2 = axes.transData.transform(np.asarray(places)) * 72 / figure.dpi
    box = axes.get_window_extent()
    frame = (box.x0, box.y0, box.x1, box.y1)
    sizes_P2 = np.array([(5.2 * len(label) + 3, 10.5) for label in labels])
    found_P2 = free_places(at_P2, sizes_P2, tuple(value * 72 / figure.dpi for value in frame))
    for place, offset, label, colour in zip(places, found_P2 - at_P2, labels, colours, strict=True):
        far = np.hypot(*offset) > 17
        axes.annotate(
            label,
            place,
            xytext=tuple(offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 5} if far else None,
            zorder=6,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )


def _dress(left: Any, right: Any, k: int) -> None:
    left.set_xlabel("p99 of tower and index, CPU ms, one thread", color=INK)
    right.set_xlabel("release bundle on disk, MB", color=INK)
    left.set_ylabel(f"recall@{k} through the index, % of float32's", color=INK)
    right.tick_params(labelleft=False)
    for axes in (left, right):
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=FAINT, which="both")


def _head(figure: Any, points: Sequence[Point], noisy: str) -> None:
    figure.text(0.058, 0.945, "What each recipe keeps, and what it costs", fontsize=14, fontweight="bold", color=INK)
    queries = f"validation, {points[0].row.recall.n:,} queries, 95 % intervals; up and to the left is better"
    figure.text(0.058, 0.9, queries, color=FAINT, fontsize=9.5)
    told = "dashed: recall budget · ▾ at the edge: lost more than fits · ★ ships"
    figure.text(0.058, 0.865, noisy or told, color=ALARM if noisy else FAINT, fontsize=9.5)


COLUMNS = ((0.05, "right"), (0.07, "left"), (0.56, "right"), (0.68, "right"), (0.825, "right"), (0.85, "left"))


def _key(axes: Any, listed: Sequence[Row], points: Sequence[Point], last: LastNight | None) -> None:
    axes.axis("off")
    axes.set_xlim(0, 1)
    kept = {point.number: point.kept.at for point in points}
    lines = [(str(n), row, kept.get(str(n))) for n, row in enumerate(listed, start=1)]
    step = 1 / (max(len(lines), 12) + 3.5)
    _line(axes, 1.0, ("", "recipe", "kept", "MB", "p99 ms", "verdict"), FAINT, "normal")
    axes.plot([0.0, 1.0], [1 - 0.6 * step] * 2, color=GRID, linewidth=1)
    for place, (number, row, share) in enumerate(lines, start=1):
        weight = "bold" if row.verdict == "chosen" else "normal"
        _line(axes, 1 - (place + 0.25) * step, _cells(number, row, share), TEXT.get(row.verdict, FAINT), weight)
    if last:
        before = _point("", last.chosen, last.yardstick)
        cells = ("☆", f"last night: {last.chosen.recipe}", *_figures(last.chosen, before.kept.at), "")
        _line(axes, 1 - (len(lines) + 1.9) * step, cells, FAINT, "normal")
    axes.set_ylim(0, 1.02)


def _cells(number: str, row: Row, kept: float | None) -> tuple[str, ...]:
    figures = _figures(row, kept) if kept is not None else ("-", "-", "-")
    return (number, row.recipe, *figures, row.verdict)


def _figures(row: Row, kept: float) -> tuple[str, str, str]:
    return (f"{kept:.1f} %", f"{row.bytes / MEGA:,.2f}", f"{row.p99_ms:,.2f}")


def _line(axes: Any, y: float, cells: Sequence[str], colour: str, weight: str) -> None:
    for (x, side), text in zip(COLUMNS, cells, strict=True):
        axes.text(x, y, text, ha=side, va="center", color=colour, fontsize=9, fontweight=weight)
