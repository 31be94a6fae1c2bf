"""Tries every recipe, measures it through the shipped files, and keeps the one that pays within the budgets."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.statistics import interval, paired_interval
from pipeline.optimize import attempt, latency, pareto
from pipeline.optimize.choose import Row, choose
from pipeline.optimize.inputs import Inputs
from pipeline.optimize.recipes import YARDSTICK, Recipe
from pipeline.optimize.search import MADE, NOT_TRIED, STAGE, Outcome, Search


def parts(settings: Settings, run: Run) -> tuple[str, ...]:
    """Returns the recipes in the order in which they are to be tried.

    Raises: SettingsError: a recipe's name is unknown.
    """
    return tuple(recipe.name for recipe in Search(settings, run).in_order)


def run_part(settings: Settings, run: Run, part: str) -> Report:
    """Leaves the artifact of one recipe."""
    return Search(settings, run).run_part(part)


def run(settings: Settings, run: Run) -> Report:
    """Leaves an artifact a recipe, and one with table, choice, picture and the chosen release bundle.

    Raises:
        SettingsError: a recipe's name is unknown.
        DataError: float32, which all are held against, failed; or nothing stays within the budgets.
    """
    search = Search(settings, run)
    outcomes = search.outcomes()
    night = _Night(settings, run, search.inputs, search.recipes, outcomes)
    report = run.once(STAGE, search.read, search.sections(outcomes), night.fill)
    search.notes.end()
    return report


class _Night:
    """One run's recipes on their way to a choice."""

    def __init__(
        self,
        settings: Settings,
        run: Run,
        inputs: Inputs,
        recipes: Sequence[Recipe],
        outcomes: Mapping[str, Outcome],
    ) -> None:
        self.settings, self.run, self.inputs, self.recipes, self.outcomes = settings, run, inputs, recipes, outcomes

    def fill(self, folder: Path) -> Report:
        made = {name: self.run.artifact(STAGE, name) for name, found in self.outcomes.items() if found is MADE}
        per_query = {name: np.load(artifact.file(attempt.PER_QUERY)) for name, artifact in made.items()}
        rows = [self._row(recipe, made, per_query) for recipe in self.recipes]
        rows = self._chosen(self._timed(rows, made), per_query)
        chosen = next(row for row in rows if row.verdict == "chosen")
        shutil.copytree(made[chosen.recipe].file(attempt.BUNDLE), folder / attempt.BUNDLE)
        self._write(folder, rows, chosen)
        return self._report(folder, rows, chosen)

    def _chosen(self, rows: Sequence[Row], per_query: dict[str, np.ndarray]) -> list[Row]:
        """Returns the rows with verdicts; those not tried have theirs already."""
        tried = [row for row in rows if row.verdict != NOT_TRIED]
        judged = choose(tried, per_query, self.inputs.judged.users, self.settings.optimize)
        by_name = {row.recipe: row for row in judged}
        return [by_name.get(row.recipe, row) for row in rows]

    def _row(self, recipe: Recipe, made: dict[str, Artifact], per_query: dict[str, np.ndarray]) -> Row:
        row = Row(recipe.name, recipe.doc, len(recipe.transforms))
        outcome = self.outcomes[recipe.name]
        if outcome is not MADE:
            return replace(row, verdict=outcome.verdict, reason=outcome.reason)
        judged, artifact = self.inputs.judged, made[recipe.name]
        recall_Q, float_Q = per_query[recipe.name], per_query[YARDSTICK]
        notes = artifact.json(attempt.NOTES)
        index = artifact.json(f"{attempt.BUNDLE}/manifest.json")["index"]
        kinds = np.asarray(judged.kinds)
        return Row(
            recipe.name,
            recipe.doc,
            row.transforms,
            recall=interval(recall_Q, judged.users),
            difference=paired_interval(recall_Q, float_Q, judged.users),
            relative_loss=float(1 - recall_Q.mean() / float_Q.mean()) if float_Q.mean() else 0.0,
            recall_by_kind={str(kind): float(recall_Q[kinds == kind].mean()) for kind in np.unique(kinds)},
            index_recall=index["recall_against_exact"],
            bytes=notes["bytes"],
            dense_sparsity=notes["dense_sparsity"],
            digest=notes["digest"],
        )

    def _timed(self, rows: list[Row], made: dict[str, Artifact]) -> list[Row]:
        bundles = {name: artifact.file(attempt.BUNDLE) for name, artifact in made.items()}
        calls, k = self.settings.optimize.latency_requests, self.settings.shop.k
        with tempfile.TemporaryDirectory() as scratch:
            times = latency.measure(bundles, self.inputs.judged, calls, k, Path(scratch))
        quantile = {name: np.quantile(values, [0.5, 0.99]).tolist() for name, values in times.items()}
        return [
            replace(row, p50_ms=quantile[row.recipe][0], p99_ms=quantile[row.recipe][1])
            if row.recipe in quantile
            else row
            for row in rows
        ]

    def _write(self, folder: Path, rows: Sequence[Row], chosen: Row) -> None:
        optimize, k = self.settings.optimize, self.settings.shop.k
        (folder / "recipes.json").write_text(json.dumps([row.plain() for row in rows], indent=1))
        choice = {
            "recipe": chosen.recipe,
            "digest": chosen.digest,
            "reason": chosen.reason,
            "rule": "fewest bytes within the budgets; see pipeline/optimize/choose.py",
            "k": k,
            "metric": self.settings.shop.metric,
            "budgets": {name: getattr(optimize, name) for name in ("max_recall_loss", "max_p99_ms", "max_bundle_mb")},
            "verdicts": {row.recipe: {"verdict": row.verdict, "reason": row.reason} for row in rows},
        }
        (folder / "choice.json").write_text(json.dumps(choice, indent=1))
        pareto.draw(rows, k, optimize, folder)

    def _report(self, folder: Path, rows: Sequence[Row], chosen: Row) -> Report:
        yardstick = next(row for row in rows if row.recipe == YARDSTICK)
        k = self.settings.shop.k
        return Report(
            _sentence(rows, chosen, yardstick, k),
            counts={"recipes": len(rows), "queries": chosen.recall.n, "bytes": chosen.bytes},
            metrics={
                f"recall_at_{k}": chosen.recall.mean,
                f"recall_at_{k}_float32": yardstick.recall.mean,
                "relative_recall_loss": chosen.relative_loss,
                "times_smaller_than_float32": yardstick.bytes / chosen.bytes,
                "p50_ms": chosen.p50_ms,
                "p99_ms": chosen.p99_ms,
            },
            digests={"bundle": chosen.digest},
            verdict=chosen.recipe,
        )


def _sentence(rows: Sequence[Row], chosen: Row, yardstick: Row, k: int) -> str:
    kept = chosen.recall.mean / yardstick.recall.mean if yardstick.recall.mean else 1.0
    told = f"{chosen.recipe} chosen: {yardstick.bytes / chosen.bytes:.1f}x smaller than float32, "
    told += f"recall@{k} {chosen.recall.mean:.4f} ({kept:.1%} of float32's), p99 {chosen.p99_ms:.2f} ms"
    out = [row for row in rows if row.verdict in ("rejected", "failed", NOT_TRIED) and row is not yardstick]
    others = [f"{row.recipe} {row.verdict}: {row.reason}" for row in out]
    return "; ".join([told, *others]) + "."
