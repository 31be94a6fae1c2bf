"""What an earlier night chose, drawn beside tonight's choice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import Artifact
from pipeline.core.run import Run
from pipeline.model.recipe_table import YARDSTICK
from pipeline.optimize.measuring.row import Row


@dataclass(frozen=True)
class LastNight:
    """The choice of the newest earlier night.

    Attributes:
        key: of its artifact; it belongs among the inputs of whatever shows it.
        chosen, yardstick: rows as they were measured then, on that night's validation queries and machine.
    """

    key: str
    run_id: str
    chosen: Row
    yardstick: Row


def last_night(run: Run) -> LastNight | None:
    """Returns the newest night before this run's as-of that chose a recipe; None where there is none to be read.

    Nights of the same or a later as-of do not count, nor do backfills, which pretend to be at another time.
    """
    earlier = sorted((moment, folder) for folder in run.layout.runs.glob("*") if (moment := _as_of(folder, run)))
    return next((found for _, folder in reversed(earlier) if (found := _read(folder, run))), None)


def _as_of(folder: Path, run: Run) -> datetime | None:
    facts = _json(folder / "run.json")
    if folder.name == run.run_id or not facts or facts["backfill"]:
        return None
    moment = datetime.fromisoformat(facts["as_of"])
    return moment if moment < run.as_of else None


def _read(folder: Path, run: Run) -> LastNight | None:
    key = (_json(folder / "refs" / "optimize.json") or {}).get("")
    table = Artifact(run.layout.artifact("optimize", key)).path / "recipes.json" if key else None
    try:
        rows = [Row.from_plain(row) for row in (table and _json(table)) or []]
    except TypeError:  # written when rows had other fields
        return None
    chosen = next((row for row in rows if row.verdict == "chosen"), None)
    yardstick = next((row for row in rows if row.recipe == YARDSTICK), None)
    return LastNight(key, folder.name, chosen, yardstick) if chosen and yardstick else None


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None
