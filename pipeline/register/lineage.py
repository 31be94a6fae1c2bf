"""Where a bundle comes from: days, split, code, artifact keys, figures. Read from the run, nothing is computed anew."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import PACKAGE, Artifact, digest_of
from pipeline.core.run import Run
from pipeline.model.bundle import Bundle

STAGES = ("ingest", "validate", "prepare", "train", "optimize")
PLOTS = (("train", "curves.svg"), ("train", "table.svg"), ("optimize", "pareto.svg"))
RECORDS = (
    ("prepare", "split.json"),
    ("train", "metrics.json"),
    ("optimize", "recipes.json"),
    ("optimize", "choice.json"),
)


USES = {"validation": "early stopping and the choice of a recipe", "test": "the gate alone"}


@dataclass(frozen=True)
class DataSet:
    """Something the run read or judged by.

    Attributes:
        use: what for.
        profile: what is known of it.
    """

    name: str
    digest: str
    source: Path
    use: str
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class Lineage:
    """What the registry says of a version.

    Attributes:
        keys: of every artifact the run stands on, `stage` or `stage/part` to key.
        standing: which baselines the float model does not clearly beat, on validation.
        figures: `model, metric, slice, value, low, high, n` of the float model and the baselines, on validation.
        epochs: what was seen in each epoch of training.
        recipes: a row a recipe.
        data_sets: the window of days, what was trained on, and what the model is judged by.
        plots, records: files to attach.
    """

    run_id: str
    days: str
    as_of: str
    commit: str
    keys: Mapping[str, str]
    split: Mapping[str, Any]
    standing: str
    figures: list[Mapping[str, Any]]
    epochs: list[Mapping[str, Any]]
    recipes: list[Mapping[str, Any]]
    choice: Mapping[str, Any]
    data_sets: list[DataSet] = field(default_factory=list)
    plots: list[Path] = field(default_factory=list)
    records: list[Path] = field(default_factory=list)


def trace(run: Run) -> Lineage:
    """Reads the lineage of a run's bundle from its artifacts.

    Raises: MissingInputError: a stage did not run, or left a file out.
    """
    prepared, trained, optimized = (run.artifact(stage) for stage in ("prepare", "train", "optimize"))
    return Lineage(
        run_id=run.run_id,
        days=str(run.days),
        as_of=run.as_of.isoformat(),
        commit=code_commit(),
        keys=dict(_keys(run)),
        split=prepared.json("split.json"),
        standing=trained.json("metrics.json")["standing"],
        figures=trained.json("metrics.json")["rows"],
        epochs=trained.json("history.json")["epochs"],
        recipes=optimized.json("recipes.json"),
        choice=optimized.json("choice.json"),
        data_sets=list(_data_sets(prepared)),
        plots=[run.artifact(stage).file(name) for stage, name in PLOTS],
        records=[run.artifact(stage).file(name) for stage, name in RECORDS],
    )


def _data_sets(prepared: Artifact) -> Iterator[DataSet]:
    manifest, split = prepared.manifest, prepared.json("split.json")
    days = "..".join(split["window"])
    yield DataSet(f"window {days}", digest_of(manifest["inputs"]), prepared.path, "source", manifest["inputs"])
    yield DataSet("training set", manifest["digest"], prepared.path, "training", split["counts"])
    for name, use in USES.items():
        file = f"{name}.parquet"
        profile = {key: n for key, n in split["counts"].items() if key.startswith(name)}
        yield DataSet(name, manifest["files"][file]["sha256"], prepared.file(file), use, profile)


def _keys(run: Run) -> Iterator[tuple[str, str]]:
    for stage in STAGES:
        for part, artifact in sorted(run.artifacts(stage).items()):
            yield (f"{stage}/{part}" if part else stage), artifact.key


def code_commit() -> str:
    """Returns the commit of the code that runs, with `+changes` where files differ from it; empty without git."""
    try:
        head = _git("rev-parse", "HEAD")
        return f"{head}+changes" if _git("status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(PACKAGE.parent), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def tags_of(lineage: Lineage, bundle: Bundle) -> dict[str, str]:
    """Returns the tags of the version; `digest` and `run_id` together name it."""
    return {
        "digest": bundle.digest,
        "data_end": bundle.data_end,
        "recipe": bundle.recipe,
        "run_id": lineage.run_id,
        "days": lineage.days,
        "as_of": lineage.as_of,
        "commit": lineage.commit,
        "keys": json.dumps({stage: key for stage, key in lineage.keys.items() if "/" not in stage}),
    }


def numbers(values: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields every number in nested JSON under its dotted path."""
    if isinstance(values, bool) or values is None:
        return
    if isinstance(values, int | float):
        yield prefix, float(values)
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from numbers(value, f"{prefix}.{name}" if prefix else str(name))
