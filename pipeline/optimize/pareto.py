"""The picture of the choice: recall through the index against bytes, with intervals, the chosen recipe marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.settings import Optimize
from pipeline.optimize.choose import MEGA, Row

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
    style = {"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "pareto", "svg.fonttype": "path"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(9.6, 5.2), layout="constrained")
        for row in measured:
            _point(axes, row)
        _budget(axes, measured, budgets)
        _labels(axes, measured)
        _dress(axes, measured, k)
        figure.savefig(folder / "pareto.svg", metadata={"Date": None})
        figure.savefig(folder / "pareto.png", dpi=150)
        plt.close(figure)


def _point(axes, row: Row) -> None:
    chosen = row.verdict == "chosen"
    low, high = row.recall.mean - row.recall.low, row.recall.high - row.recall.mean
    axes.errorbar(
        row.bytes / MEGA,
        row.recall.mean,
        yerr=[[low], [high]],
        fmt="*" if chosen else "o",
        markersize=17 if chosen else 8,
        color=COLOURS[row.verdict],
        elinewidth=1.4,
        capsize=4,
        alpha=1.0 if chosen else 0.85,
        zorder=3 if chosen else 2,
    )


def _budget(axes, rows: Sequence[Row], budgets: Optimize) -> None:
    yardstick = next(row for row in rows if row.difference is not None and row.recipe == "float32")
    floor = yardstick.recall.mean * (1 - budgets.max_recall_loss)
    axes.axhline(floor, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    text = f"recall budget: {budgets.max_recall_loss:.1%} below float32"
    axes.annotate(text, (0.005, floor), xycoords=("axes fraction", "data"), xytext=(0, -4), textcoords="offset points")
    axes.texts[-1].set(va="top", color=FAINT, fontsize=8.5)


def _labels(axes, rows: Sequence[Row]) -> None:
    """Puts labels in a column on the right, moved apart where points lie close, each tied to its point."""
    bottom, top = axes.get_ylim()
    span = (top - bottom) or 1.0
    places, last = [], 2.0
    for row in rows:
        last = min((row.recall.mean - bottom) / span, last - 2.2 * BETWEEN_LABELS, 0.96)
        places.append(last)
    lift = max(0.0, 0.06 - min(places))
    for row, place in zip(rows, places, strict=True):
        axes.annotate(
            f"{row.recipe}: {row.verdict}\n{_figures(row)}",
            xy=(row.bytes / MEGA, row.recall.mean),
            xytext=(1.03, place + lift),
            textcoords="axes fraction",
            va="center",
            color=COLOURS[row.verdict],
            fontweight="bold" if row.verdict == "chosen" else "normal",
            fontsize=9.5,
            linespacing=1.5,
            arrowprops={"arrowstyle": "-", "color": COLOURS[row.verdict], "linewidth": 0.7, "alpha": 0.5, "shrinkB": 8},
            annotation_clip=False,
        )


def _figures(row: Row) -> str:
    return f"{row.recall.mean:.4f} · {row.bytes / MEGA:.2f} MB · p99 {row.p99_ms:.3f} ms"


def _dress(axes, rows: Sequence[Row], k: int) -> None:
    most = max(row.bytes for row in rows) / MEGA
    axes.set_xlim(0, most * 1.08)
    axes.set_xlabel("release bundle on disk (MB)", color=INK)
    axes.set_ylabel(f"recall@{k} through the index, validation", color=INK)
    axes.set_title("What each recipe keeps and what it costs", loc="left", fontweight="bold", color=INK, pad=22)
    subtitle = f"95 % intervals by user, {rows[0].recall.n:,} queries; star: ships"
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, color=FAINT, fontsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=FAINT)
