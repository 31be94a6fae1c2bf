"""The trained model beside the baselines: the table, the values of each query, the pictures, and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import Artifact
from pipeline.core.progress import progress
from pipeline.core.step import Report
from pipeline.model.baselines import BASELINES, Interactions
from pipeline.model.standing import told
from pipeline.train.checkpoint import Position
from pipeline.train.curves import draw_curves
from pipeline.train.table import draw_table
from pipeline.train.tracked import Tracked
from pipeline.train.validation import SENSES, Ranker, Validation, Values

MODEL = "two_tower"
TITLES = {MODEL: "two towers"} | {name: baseline.title for name, baseline in BASELINES.items()}
TRACKED = ("curves.svg", "table.svg", "metrics.json", "history.json")


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
    rows, values = _judge(artifact, validation, model)
    baselines = {TITLES[name]: found for name, found in values.items() if name != MODEL}
    standing = told(validation.standings(values[MODEL], baselines), validation.k)
    metrics = {"k": validation.k, "standing": standing, "rows": rows}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    _save_per_query(out / "per_query_validation.parquet", validation, values[MODEL])
    judged = _judged(rows, validation.k)
    _save_history(out, position, judged, validation.k)
    draw_table(out / "table.svg", rows, TITLES, f"recall@{validation.k}", standing)
    _track(tracked, rows, standing, out)
    return _report(position, counts, judged, validation.k, standing)


def _judge(artifact: Artifact, validation: Validation, model: Ranker) -> tuple[list[dict[str, Any]], dict[str, Values]]:
    """Returns the table's rows, and the values of each query by model."""
    log = Interactions.load(artifact)
    rows, values = [], {}
    with progress("train: evaluates", len(TITLES) * len(validation.queries), "queries") as bar:
        for name in TITLES:
            answers = validation.answers(model if name == MODEL else BASELINES[name](log))
            values[name] = validation.values(answers)
            rows += validation.rows(name, answers, values[name])
            bar.advance(len(validation.queries), model=name)
    return rows, values


def _judged(rows: Sequence[Mapping[str, Any]], k: int) -> dict[str, float]:
    """Returns recall in the shop's sense by model; 0 where no query has a target."""
    return {
        row["model"]: row["value"] or 0.0 for row in rows if (row["metric"], row["slice"]) == (f"recall@{k}", "judged")
    }


def _save_per_query(path: Path, validation: Validation, found: Values) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    facts = {"query_id": validation.ids, "user": validation.users, "kind": validation.kinds}
    figures = {
        f"{metric}@{validation.k}_{sense}": values_Q for (metric, sense), values_Q in found.items() if sense in SENSES
    }
    parquet.write_table(arrow.table({**facts, **figures}), path)


def _save_history(out: Path, position: Position, judged: Mapping[str, float], k: int) -> None:
    history = {"epochs": position.epochs, "best_epoch": position.best_epoch + 1, "steps": position.number}
    (out / "history.json").write_text(json.dumps(history, indent=1))
    baselines = {TITLES[name]: recall for name, recall in judged.items() if name != MODEL}
    draw_curves(out / "curves.svg", position.epochs, baselines, f"recall@{k}")


def _track(tracked: Tracked, rows: Sequence[Mapping[str, Any]], standing: str, out: Path) -> None:
    figures = {(row["model"], row["metric"], row["slice"]): row["value"] for row in rows if row["value"] is not None}
    tracked.metrics({".".join(names).replace("@", "."): value for names, value in figures.items()})
    # MLflow shows this tag as the run's description.
    tracked.tags({"standing": standing, "mlflow.note.content": f"**{standing}**"})
    for name in TRACKED:
        tracked.artifact(out / name)


def _report(
    position: Position, counts: Mapping[str, int], judged: Mapping[str, float], k: int, standing: str
) -> Report:
    epochs = len(position.epochs)
    beside = ", ".join(f"{TITLES[name]} {recall:.4f}" for name, recall in judged.items() if name != MODEL)
    return Report(
        f"{standing} On validation: recall@{k} {judged[MODEL]:.4f} ({beside}) after {epochs} epochs over "
        f"{counts['targets']:,} targets; the weights of epoch {position.best_epoch + 1} are kept.",
        counts={**counts, "epochs": epochs},
        metrics={f"{name}_recall_at_{k}": value for name, value in judged.items()}
        | {"seconds": sum(record["seconds"] for record in position.epochs)},
    )
