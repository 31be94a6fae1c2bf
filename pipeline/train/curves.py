"""The training's curves as a picture: loss, and validation recall beside the baselines it must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

INK, PALE, LOSS, RECALL = "#22303c", "#d5dbe1", "#b4532a", "#1f6f8b"
STYLES = ((0, (1, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (4, 2)), (0, (8, 2)))


def draw_curves(path: Path, epochs: Sequence[Mapping[str, Any]], baselines: Mapping[str, float], label: str) -> None:
    """Writes an SVG.

    Args:
        epochs: records with `epoch`, `loss`, `recall`.
        baselines: the judged metric by what people call the baseline.
        label: of that metric, such as `recall@20`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "curves", "font.size": 10, "svg.fonttype": "none"})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    numbers = [record["epoch"] for record in epochs]
    _plain(left, "Training loss (sampled softmax)")
    left.plot(numbers, [record["loss"] for record in epochs], color=LOSS, marker="o", markersize=4)
    _plain(right, f"Validation {label}")
    recalls = [record["recall"] for record in epochs]
    right.plot(numbers, recalls, color=RECALL, marker="o", markersize=4, label="two towers")
    _draw_baselines(right, baselines)
    _explain(right, epochs)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _plain(axes: Any, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, length=0)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_baselines(axes: Any, baselines: Mapping[str, float]) -> None:
    styles = dict(zip(baselines, cycle(STYLES), strict=False))
    for title, value in sorted(baselines.items(), key=lambda pair: -pair[1]):
        axes.axhline(value, color=INK, linewidth=1, linestyle=styles[title], alpha=0.6, label=f"{title} {value:.3f}")


def _explain(axes: Any, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Leaves room above the highest line and names every line beside the plot, where nothing can lie over it."""
    axes.set_ylim(0, axes.dataLim.ymax * 1.1 or 1)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, labelcolor=INK)
    if epochs:
        best = max(epochs, key=lambda record: record["recall"])
        legend.set_title(f"best: epoch {best['epoch']}, {best['recall']:.3f}", {"size": 9})
