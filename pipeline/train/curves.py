"""The training's curves as a picture: loss, and validation recall beside the baselines it must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INK, PALE, LOSS, RECALL = "#22303c", "#d5dbe1", "#b4532a", "#1f6f8b"
BASELINE_STYLES = {"item_knn": (0, (4, 2)), "popularity": (0, (1, 2)), "own_items": (0, (6, 2, 1, 2))}


def draw_curves(path: Path, epochs: Sequence[Mapping[str, Any]], baselines: Mapping[str, float], label: str) -> None:
    """Writes an SVG.

    Args:
        epochs: records with `epoch`, `loss`, `recall`.
        baselines: the judged metric by baseline.
        label: of that metric, such as `recall@20`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "curves", "font.size": 10, "svg.fonttype": "none"})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
    numbers = [record["epoch"] for record in epochs]
    _plain(left, "Training loss (sampled softmax)")
    left.plot(numbers, [record["loss"] for record in epochs], color=LOSS, marker="o", markersize=4)
    _plain(right, f"Validation {label}")
    right.plot(numbers, [record["recall"] for record in epochs], color=RECALL, marker="o", markersize=4)
    _draw_baselines(right, baselines, numbers)
    _mark_best(right, epochs)
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


def _draw_baselines(axes: Any, baselines: Mapping[str, float], numbers: Sequence[int]) -> None:
    axes.set_ylim(bottom=0)
    for name, value in baselines.items():
        axes.axhline(value, color=INK, linewidth=1, linestyle=BASELINE_STYLES.get(name, "--"), alpha=0.6)
        axes.annotate(
            f"{name.replace('_', ' ')} {value:.3f}",
            (max(numbers, default=1), value),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=INK,
        )


def _mark_best(axes: Any, epochs: Sequence[Mapping[str, Any]]) -> None:
    if not epochs:
        return
    best = max(epochs, key=lambda record: record["recall"])
    axes.annotate(
        f"best {best['recall']:.3f}",
        (best["epoch"], best["recall"]),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=RECALL,
    )
