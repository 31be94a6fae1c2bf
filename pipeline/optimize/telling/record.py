"""What the choice leaves for people and later stages: the table, the choice with its rule, the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.settings import Settings
from pipeline.optimize.choose import RULE
from pipeline.optimize.measuring.latency import Timing
from pipeline.optimize.measuring.row import Row
from pipeline.optimize.telling import pareto
from pipeline.optimize.telling.last_night import LastNight

BUDGETS = ("max_recall_loss", "max_p99_ms", "max_memory_mb", "max_bundle_mb")


def write(
    folder: Path,
    rows: Sequence[Row],
    timing: Timing,
    settings: Settings,
    last: LastNight | None,
    skewed: dict[str, Any] | None,
) -> None:
    """Leaves `recipes.json`, `choice.json`, `pareto.svg` and `pareto.png`.

    Args: skewed: as `skew.skew` returns it.
    """
    (folder / "recipes.json").write_text(json.dumps([row.plain() for row in rows], indent=1))
    (folder / "choice.json").write_text(json.dumps({**_choice(rows, timing, settings, last), "skew": skewed}, indent=1))
    pareto.draw(rows, settings.shop.k, settings.optimize, folder, last, timing.noisy)


def _choice(rows: Sequence[Row], timing: Timing, settings: Settings, last: LastNight | None) -> dict[str, Any]:
    chosen = next(row for row in rows if row.verdict == "chosen")
    return {
        "recipe": chosen.recipe,
        "digest": chosen.digest,
        "reason": chosen.reason,
        "rule": list(RULE),
        "k": settings.shop.k,
        "metric": settings.shop.metric,
        "budgets": {name: getattr(settings.optimize, name) for name in BUDGETS},
        "noisy": timing.noisy,
        "timed": {"calls": timing.calls, "float32_to_itself": asdict(timing.itself), "host": dict(timing.host)},
        "last_night": {"run_id": last.run_id, "key": last.key, "recipe": last.chosen.recipe} if last else None,
        "verdicts": {row.recipe: {"verdict": row.verdict, "reason": row.reason} for row in rows},
    }
