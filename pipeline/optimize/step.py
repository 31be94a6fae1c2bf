"""Tries every recipe, measures it through the shipped files, and keeps the one that pays within the budgets."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError, PipelineError, UnavailableError
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.model.statistics import interval, paired_interval
from pipeline.optimize import attempt, record
from pipeline.optimize.choose import Evidence, Row, choose
from pipeline.optimize.inputs import Inputs
from pipeline.optimize.last_night import LastNight, last_night
from pipeline.optimize.measure import measure
from pipeline.optimize.recipes import YARDSTICK, Recipe, chosen_recipes, key_sections

STAGE = "optimize"


def run(settings: Settings, run: Run) -> Report:
    """Leaves an artifact a recipe, and one with table, choice, picture and the chosen release bundle.

    Raises:
        SettingsError: a recipe's name is unknown.
        DataError: float32, which all are held against, failed; or nothing stays within the budgets.
    """
    recipes = chosen_recipes(settings.optimize.recipes)
    inputs = Inputs(run.artifact("prepare"), run.artifact("train"), settings.shop.metric)
    read = {"prepare": inputs.prepared.digest, "train": inputs.trained.digest}
    last = last_night(run)
    night = _Night(settings, run, inputs, recipes, read, last)
    sections = {**settings.keyed(STAGE), "shop": {"k": settings.shop.k, "metric": settings.shop.metric}}
    shown = {"last_night": last.key} if last else {}
    return run.once(STAGE, {**read, **shown}, sections, night.fill)


class _Night:
    """One run's recipes on their way to a choice."""

    def __init__(
        self,
        settings: Settings,
        run: Run,
        inputs: Inputs,
        recipes: Sequence[Recipe],
        read: dict[str, str],
        last: LastNight | None,
    ) -> None:
        self.settings, self.run, self.inputs, self.recipes, self.read = settings, run, inputs, recipes, read
        self.last = last

    def fill(self, folder: Path) -> Report:
        made, failed = self._try_all()
        per_query = {name: np.load(artifact.file(attempt.PER_QUERY)) for name, artifact in made.items()}
        rows = [self._row(recipe, made, per_query, failed) for recipe in self.recipes]
        bundles = {name: artifact.file(attempt.BUNDLE) for name, artifact in made.items()}
        rows, timing = measure(rows, bundles, self.inputs.judged, self.settings)
        evidence = Evidence(per_query, self.inputs.judged.users, timing)
        rows = choose(rows, evidence, self.settings.optimize)
        chosen = next(row for row in rows if row.verdict == "chosen")
        shutil.copytree(bundles[chosen.recipe], folder / attempt.BUNDLE)
        record.write(folder, rows, timing, self.settings, self.last)
        return self._report(folder, rows, chosen)

    def _try_all(self) -> tuple[dict[str, Artifact], dict[str, str]]:
        made: dict[str, Artifact] = {}
        failed: dict[str, str] = {}
        with progress("optimize", len(self.recipes), "recipes") as shown:
            for recipe in self.recipes:
                try:
                    self._try(recipe)
                    made[recipe.name] = self.run.artifact(STAGE, recipe.name)
                except (OSError, UnavailableError):
                    raise
                except Exception as error:
                    failed[recipe.name] = _first_line(error)
                    if recipe.name == YARDSTICK:
                        raise _without_yardstick(error) from error
                shown.advance(recipe=recipe.name)
        return made, failed

    def _try(self, recipe: Recipe) -> None:
        sections = key_sections(recipe, self.settings.optimize, self.settings.shop)
        self.run.once(
            STAGE,
            self.read,
            sections,
            lambda folder: attempt.carry_out(recipe, self.inputs, self.settings, folder),
            part=recipe.name,
        )

    def _row(
        self, recipe: Recipe, made: dict[str, Artifact], per_query: dict[str, np.ndarray], failed: dict[str, str]
    ) -> Row:
        row = Row(recipe.name, recipe.doc, len(recipe.transforms))
        if recipe.name in failed:
            return Row(recipe.name, recipe.doc, row.transforms, verdict="failed", reason=failed[recipe.name])
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
            index_recall=index[f"recall_at_{self.settings.shop.k}_against_exact"],
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


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return text if isinstance(error, PipelineError) else f"{type(error).__name__}: {text}"


def _without_yardstick(error: Exception) -> PipelineError:
    if isinstance(error, PipelineError):
        return error
    return DataError(
        f"The recipe {YARDSTICK} failed ({_first_line(error)}), and every other one is held against it; "
        "mend the trained towers and run optimize again."
    )


def _sentence(rows: Sequence[Row], chosen: Row, yardstick: Row, k: int) -> str:
    kept = chosen.recall.mean / yardstick.recall.mean if yardstick.recall.mean else 1.0
    told = f"{chosen.recipe} chosen: {yardstick.bytes / chosen.bytes:.1f}x smaller than float32, "
    told += f"recall@{k} {chosen.recall.mean:.4f} ({kept:.1%} of float32's), p99 {chosen.p99_ms:.2f} ms"
    out = [row for row in rows if row.verdict in ("rejected", "failed") and row is not yardstick]
    others = [f"{row.recipe} {row.verdict}: {row.reason}" for row in out]
    return "; ".join([told, *others]) + "."
