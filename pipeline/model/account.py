"""The account of one run: its cost, put together from what its steps left, and kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import write_beside
from pipeline.core.prices import Cost
from pipeline.core.run import Run
from pipeline.model import cost
from pipeline.model.cost import Around, Replica, Table
from pipeline.model.recipe_table import YARDSTICK

JSON, MARKDOWN = "cost.json", "cost.md"
KEPT = ("prepare", "train", "optimize")
"""Stages whose artifacts are this model's; days ingested and validated are the shop's history."""


def of_run(
    run: Run, prices: Cost, server_cpu_ms: float | None = None, server_memory_mb: float | None = None
) -> list[Table]:
    """Returns the tables of a run that has optimized.

    Args:
        server_cpu_ms: CPU time of the real server for a request with the chosen bundle, tower and index included.
        server_memory_mb: its resident memory.
    """
    optimized = run.artifact("optimize").path
    rows = {row["recipe"]: row for row in _json(optimized / "recipes.json", [])}
    noisy = _json(optimized / "choice.json", {}).get("noisy", "")
    chosen = next((row for row in rows.values() if row.get("verdict") == "chosen"), {})
    before, after = _replica(rows.get(YARDSTICK, {}), YARDSTICK), _replica(chosen, chosen.get("recipe", "chosen"))
    around = Around(_more(server_cpu_ms, after.cpu_ms), _more(server_memory_mb, after.memory_mb))
    times = run.times()
    return [
        cost.serving(before, after, around, prices, f"CPU times are {noisy}." if noisy else ""),
        cost.night(times, prices),
        cost.promoted(times, _stored_bytes(run, after.bytes), prices),
    ]


def leave(run: Run, tables: list[Table]) -> None:
    """Writes the account beside what the run's steps left, anew each time more is known."""
    write_beside(run.folder / JSON, json.dumps(cost.plain(tables), indent=1, allow_nan=False))
    write_beside(run.folder / MARKDOWN, cost.markdown(tables) + "\n")


def _json(path: Path, absent: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else absent


def _replica(row: Mapping[str, Any], name: str) -> Replica:
    return Replica(name, row.get("cpu_ms"), row.get("memory_mb"), row.get("bytes"))


def _more(whole: float | None, part: float | None) -> float | None:
    return cost.known(lambda a, b: max(0.0, a - b), whole, part)


def _stored_bytes(run: Run, bundle: int | None) -> int | None:
    """Returns the bytes of the model's artifacts and of the bundle published beside them."""
    found = [artifact for stage in KEPT for artifact in run.artifacts(stage).values()]
    folders = [artifact for artifact in found if artifact.path.exists()]  # others were collected meanwhile
    kept = sum(entry["bytes"] for artifact in folders for entry in artifact.manifest["files"].values())
    return cost.known(lambda size: kept + size, bundle)
