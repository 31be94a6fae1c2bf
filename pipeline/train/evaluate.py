"""The trained model beside the baselines: the table, the values of each query, the pictures, and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import Artifact
from pipeline.core.step import Report
from pipeline.model.baselines import BASELINES, Interactions
from pipeline.train.checkpoint import Position
from pipeline.train.curves import draw_curves
from pipeline.train.export import MODEL, figure, save_figures
from pipeline.train.tracked import Tracked
from pipeline.train.validation import Ranker, Validation

JUDGED = (MODEL, "popularity", "item_knn")


def evaluate(
    artifact: Artifact,
    validation: Validation,
    model: Ranker,
    position: Position,
    counts: Mapping[str, int],
    out: Path,
    tracked: Tracked,
) -> Report:
    """Judges the model and the baselines on the validation queries and writes all figures to `out`.

    Args:
        artifact: what prepare made; the baselines are built from it.
        counts: of what the model learned from: `targets`, `items`.
    """
    rankers = {MODEL: model} | _baselines(artifact)
    rows = save_figures(out, validation, {name: validation.values(ranker) for name, ranker in rankers.items()})
    _save_history(out, position, rows, validation.k)
    tracked.metrics({f"{row['model']}.{row['metric']}.{row['slice']}".replace("@", "."): row["value"] for row in rows})
    for name in ("curves.svg", "metrics.json", "history.json"):
        tracked.artifact(out / name)
    return _report(position, counts, rows, validation.k)


def _baselines(artifact: Artifact) -> dict[str, Ranker]:
    log = Interactions.load(artifact)
    return {name: build(log) for name, build in BASELINES.items()}


def _save_history(out: Path, position: Position, rows: Sequence[Mapping[str, Any]], k: int) -> None:
    history = {"epochs": position.epochs, "best_epoch": position.best_epoch + 1, "steps": position.number}
    (out / "history.json").write_text(json.dumps(history, indent=1))
    found = {name: figure(rows, name, f"recall@{k}", "judged") for name in BASELINES}
    baselines = {name: row["value"] for name, row in found.items() if row}
    draw_curves(out / "curves.svg", position.epochs, baselines, f"recall@{k}")


def _report(position: Position, counts: Mapping[str, int], rows: Sequence[Mapping[str, Any]], k: int) -> Report:
    recall = {name: (figure(rows, name, f"recall@{k}", "judged") or {"value": 0.0})["value"] for name in JUDGED}
    epochs = len(position.epochs)
    beside = f"popularity {recall['popularity']:.4f}, item-KNN {recall['item_knn']:.4f}"
    return Report(
        f"recall@{k} {recall[MODEL]:.4f} on validation ({beside}) after {epochs} epochs over {counts['targets']:,} "
        f"targets; the weights of epoch {position.best_epoch + 1} are kept.",
        counts={**counts, "epochs": epochs},
        metrics={f"{name}_recall_at_{k}": value for name, value in recall.items()}
        | {"seconds": sum(record["seconds"] for record in position.epochs)},
    )
