"""Tries every recipe, measures it through the shipped files, and keeps the one that pays within the budgets."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.recipe_table import YARDSTICK
from pipeline.model.statistics import interval, paired_interval
from pipeline.optimize.choose import Evidence, choose
from pipeline.optimize.making import attempt
from pipeline.optimize.making.inputs import Inputs
from pipeline.optimize.making.recipes import Recipe
from pipeline.optimize.measuring.measure import measure
from pipeline.optimize.measuring.row import NOT_MEASURED, Row
from pipeline.optimize.measuring.skew import skew
from pipeline.optimize.searching.search import MADE, STAGE, Outcome, Search
from pipeline.optimize.telling import record
from pipeline.optimize.telling.last_night import LastNight, last_night


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
    search, last = Search(settings, run), last_night(run)
    outcomes = search.outcomes()
    night = _Night(settings, run, search.inputs, search.recipes, outcomes, last)
    # A backfill looks at no champion: tonight's may be younger than its as-of.
    champion = None if run.backfill else run.layout.champion()
    shown = {"last_night": last.key} if last else {}
    shown |= {"champion": champion} if champion else {}
    report = run.once(STAGE, {**search.read, **shown}, search.sections(outcomes), night.fill)
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
        last: LastNight | None,
    ) -> None:
        self.settings, self.run, self.inputs, self.recipes, self.outcomes = settings, run, inputs, recipes, outcomes
        self.last = last

    def fill(self, folder: Path) -> Report:
        made = {name: self.run.artifact(STAGE, name) for name, found in self.outcomes.items() if found is MADE}
        per_query = {name: np.load(artifact.file(attempt.PER_QUERY)) for name, artifact in made.items()}
        rows = [self._row(recipe, made, per_query) for recipe in self.recipes]
        bundles = {name: artifact.file(attempt.BUNDLE) for name, artifact in made.items()}
        rows, timing = measure(rows, bundles, self.inputs.judged, self.settings)
        evidence = Evidence(per_query, self.inputs.judged.users, timing)
        rows = choose(rows, evidence, self.settings.optimize)
        chosen = next(row for row in rows if row.verdict == "chosen")
        shutil.copytree(bundles[chosen.recipe], folder / attempt.BUNDLE)
        record.write(folder, rows, timing, self.settings, self.last, self._skew(folder / attempt.BUNDLE, chosen))
        return self._report(folder, rows, chosen)

    def _skew(self, bundle: Path, chosen: Row) -> dict[str, Any] | None:
        if self.run.backfill:
            return None
        return skew(self.run.layout, bundle, self.inputs.judged, chosen.recall.mean, self.settings.shop.k)

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
    rejected = [row.recipe for row in rows if row.verdict == "rejected" and row is not yardstick]
    others = [f"rejected with their figures: {', '.join(rejected)}"] if rejected else []
    others += [f"{row.recipe} {row.verdict}: {row.reason}" for row in rows if row.verdict in NOT_MEASURED]
    return "; ".join([told, *others]) + "."
