"""The picture of the choice: recall kept of float32's against bytes, with paired intervals, the chosen one marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.sections import Optimize
from pipeline.optimize.choose import MEGA, Row
from pipeline.optimize.recipes import YARDSTICK

COLOURS = {"chosen": "#0b7a4b", "front": "#2b5fa8", "rejected": "#8a8f98"}
INK, GRID, FAINT = "#1f2430", "#e6e8ec", "#6b7280"
BETWEEN_LABELS = 0.075
"""Least distance between two labels, as a share of the picture's height."""


def draw(rows: Sequence[Row], k: int, budgets: Optimize, folder: Path) -> None:
    """Writes `pareto.svg` and `pareto.png`; the same rows give the same bytes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    measured = sorted((row for row in rows if row.recall), key=lambda row: -row.recall.mean)
    yardstick = next(row for row in measured if row.recipe == YARDSTICK)
    style = {"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "pareto", "svg.fonttype": "path"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(9.6, 5.2), layout="constrained")
        for place, row in enumerate(measured):
            _point(axes, row, yardstick, place)
        _budget(axes, budgets)
        _labels(axes, measured, yardstick)
        _dress(axes, measured, k)
        figure.savefig(folder / "pareto.svg", metadata={"Date": None})
        figure.savefig(folder / "pareto.png", dpi=150)
        plt.close(figure)


def _kept(row: Row, yardstick: Row) -> tuple[float, float, float]:
    """Returns recall relative to float32's in percent: estimate, lower and upper end, paired query by query."""
    whole = yardstick.recall.mean or 1.0
    difference = row.difference
    return tuple(100 * (1 + value / whole) for value in (difference.mean, difference.low, difference.high))


def _point(axes, row: Row, yardstick: Row, place: int) -> None:
    chosen = row.verdict == "chosen"
    kept, low, high = _kept(row, yardstick)
    axes.errorbar(
        row.bytes / MEGA,
        kept,
        yerr=[[kept - low], [high - kept]],
        fmt="*" if chosen else "o",
        markersize=16 if chosen else 9 + 3 * place,
        markerfacecolor=COLOURS[row.verdict] if chosen else "none",
        markeredgewidth=1.6,
        color=COLOURS[row.verdict],
        elinewidth=1.3,
        # Recipes of one size lie on one another: rings and caps of different widths keep them apart.
        capsize=4 + 3 * place,
        zorder=3 if chosen else 2,
    )


def _budget(axes, budgets: Optimize) -> None:
    floor = 100 * (1 - budgets.max_recall_loss)
    axes.axhline(floor, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    text = f"budget: {budgets.max_recall_loss:.1%} of recall may be lost"
    axes.annotate(text, (0.995, floor), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points")
    axes.texts[-1].set(va="bottom", ha="right", color=FAINT, fontsize=8.5)


def _labels(axes, rows: Sequence[Row], yardstick: Row) -> None:
    """Puts labels in a column on the right, moved apart where points lie close, each tied to its point."""
    bottom, top = axes.get_ylim()
    span = (top - bottom) or 1.0
    places, last = [], 2.0
    for row in rows:
        last = min((_kept(row, yardstick)[0] - bottom) / span, last - 2.2 * BETWEEN_LABELS, 0.96)
        places.append(last)
    lift = max(0.0, 0.06 - min(places))
    for row, place in zip(rows, places, strict=True):
        axes.annotate(
            f"{row.recipe}: {row.verdict}\n{_figures(row)}",
            xy=(row.bytes / MEGA, _kept(row, yardstick)[0]),
            xytext=(1.03, place + lift),
            textcoords="axes fraction",
            va="center",
            color=COLOURS[row.verdict],
            fontweight="bold" if row.verdict == "chosen" else "normal",
            fontsize=9.5,
            linespacing=1.5,
            arrowprops={"arrowstyle": "-", "color": COLOURS[row.verdict], "linewidth": 0.7, "alpha": 0.5, "shrinkB": 9},
            annotation_clip=False,
        )


def _figures(row: Row) -> str:
    return f"recall {row.recall.mean:.4f} · {row.bytes / MEGA:.2f} MB · p99 {row.p99_ms:.3f} ms"


def _dress(axes, rows: Sequence[Row], k: int) -> None:
    most = max(row.bytes for row in rows) / MEGA
    axes.set_xlim(0, most * 1.08)
    axes.set_xlabel("release bundle on disk (MB)", color=INK)
    axes.set_ylabel(f"recall@{k} through the index, % of float32's", color=INK)
    axes.set_title("What each recipe keeps and what it costs", loc="left", fontweight="bold", color=INK, pad=22)
    subtitle = f"validation, {rows[0].recall.n:,} queries, 95 % paired intervals by user; the star ships"
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, color=FAINT, fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT)
