"""The table as a picture: judged recall of the model and the baselines with intervals, one band a slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

INK, PALE, MODEL = "#22303c", "#e4e7eb", "#1f6f8b"
COLOURS = ("#9aa5b1", "#b7791f", "#6b46a8", "#2f855a", "#b4532a")
BAND_INCHES, HEAD_INCHES, STEP = 0.42, 1.7, 0.13
Row = Mapping[str, Any]


def draw_table(path: Path, rows: Sequence[Row], titles: Mapping[str, str], metric: str, standing: str) -> None:
    """Writes an SVG.

    Args:
        rows: of `metrics.json`.
        titles: what people call each model, by its name; the first is the trained one.
        metric: the one shown, such as `recall@20`.
        standing: the sentence above the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row["metric"] == metric and row["slice"].startswith("judged")]
    slices = list(dict.fromkeys(row["slice"] for row in shown))
    height = HEAD_INCHES + BAND_INCHES * len(slices)
    settings = {"svg.hashsalt": "table", "font.size": 10, "svg.fonttype": "none"}
    with matplotlib.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(11, height), layout="constrained")
        for place, (name, title) in enumerate(titles.items()):
            own = [row for row in shown if row["model"] == name and row["value"] is not None]
            _draw_model(axes, own, slices, place, title, len(titles))
        _label(axes, shown, slices, metric)
        figure.legend(
            loc="outside upper left", ncols=len(titles), frameon=False, labelcolor=INK, handletextpad=0.2,
            title=fill(standing, 130), title_fontsize=11, alignment="left",
        )  # fmt: skip
        figure.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _draw_model(axes: Any, own: Sequence[Row], slices: Sequence[str], place: int, title: str, models: int) -> None:
    """Draws a dot and its interval in every band, each model on a line of its own within it."""
    colour, width = (MODEL, 3.0) if place == 0 else (COLOURS[(place - 1) % len(COLOURS)], 1.2)
    heights = [slices.index(row["slice"]) + (place - (models - 1) / 2) * STEP for row in own]
    for row, height in zip(own, heights, strict=True):
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=width, alpha=0.5)
    values = [row["value"] for row in own]
    axes.scatter(values, heights, color=colour, s=26 if place == 0 else 12, zorder=3, label=title)


def _label(axes: Any, shown: Sequence[Row], slices: Sequence[str], metric: str) -> None:
    names = ["all" if name == "judged" else name.removeprefix("judged/") for name in slices]
    axes.set_yticks(range(len(slices)), names, color=INK)
    axes.set_ylim(len(slices) - 0.5, -0.5)
    axes.set_xlim(left=-0.01 * axes.get_xlim()[1])
    for edge in range(1, len(slices)):
        axes.axhline(edge - 0.5, color=PALE, linewidth=1.6 if edge == 1 else 0.8)
    sizes = {row["slice"]: (row["n"], row["low"] is None) for row in shown}
    for place, (n, few) in enumerate(sizes[name] for name in slices):
        told = f"n = {n:,}{', too few' if few else ''}"
        axes.text(1.01, place, told, transform=axes.get_yaxis_transform(), va="center", color=INK, fontsize=9)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.set_xlabel(f"{metric} on validation as the shop counts it, with 95 % intervals by users", color=INK)
