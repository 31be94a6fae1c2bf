"""The record as one page that opens offline."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from pipeline.gate import pictures
from pipeline.gate.record import Decision, number, timing
from pipeline.gate.rules import Finding
from pipeline.model import headline, recipe_table
from pipeline.model.cost import Table, shown

TEMPLATE = Path(__file__).with_name("decision.html")
WORDS = {"pass": "Promote", "fail": "Do not promote", "inconclusive": "A person is asked"}


def render(decision: Decision, times_ms: Mapping[str, np.ndarray], optimized: Path, costs: Sequence[Table] = ()) -> str:
    """Returns the page.

    Args:
        times_ms: by server, for the latency picture.
        optimized: folder that may hold `recipes.json`, `choice.json` and `pareto.svg`.
        costs: tables of the run's account.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": lambda value: "" if value is None else number(value),
        "moment": _moment,
        "shown": shown,
    }
    p99 = next((f.threshold for f in decision.findings if f.metric == "p99_ms"), None)
    return environment.from_string(TEMPLATE.read_text()).render(
        d=decision,
        title=_title(decision),
        head=Markup(headline.head(decision.outcome, _title(decision), _next(decision))),
        colours=pictures.COLOURS,
        tiles=_tiles(decision),
        gates=[_shown(f) for f in decision.findings],
        intervals=Markup(pictures.intervals(decision.findings)),
        latencies=Markup(pictures.latencies(times_ms, p99)),
        timed=timing(decision.latency) if decision.latency else "",
        recipes=_recipes(optimized),
        costs=costs,
        pareto=_image(optimized / "pareto.svg"),
    )


def _moment(text: str) -> str:
    return f"{text[:10]} {text[11:16]} UTC"


def _title(decision: Decision) -> str:
    if decision.backfill:
        return "Report only"
    return "Nothing to promote" if _is_champion(decision) else WORDS[decision.outcome]


def _is_champion(decision: Decision) -> bool:
    return any(f.gate == "identity" for f in decision.findings)


def _next(decision: Decision) -> str:
    """Returns what is still to happen when the page is made; `promote` puts what did happen in its place."""
    stays = decision.backfill or decision.dry_run or _is_champion(decision)
    return "" if stays or decision.outcome != "pass" else "The gate's advice, not carried out yet: promote comes next."


def _tiles(decision: Decision) -> list[tuple[str, str, str]]:
    """Returns label, figure and remark of what a reader looks for first."""
    found = {f.metric: f for f in reversed(decision.findings) if not f.slice}  # built-in gates come first
    tiles = [
        _recall_tile(found.get("recall") or found.get("recall_popularity"), decision.k),
        _margin_tile(found.get("recall")),
        _budget_tile("p99 through the server", found.get("p99_ms"), "ms"),
        _budget_tile("server memory", found.get("memory_mb"), "MB"),
    ]
    return [tile for tile in tiles if tile]


def _recall_tile(f: Finding | None, k: int) -> tuple[str, str, str] | None:
    if f is None or f.challenger is None:
        return None
    against = "popularity" if f.metric == "recall_popularity" else "champion"
    remark = f"{against} {f.champion:.4f}" if f.champion is not None else ""
    return (f"recall@{k}", f"{f.challenger:.4f}", remark)


def _margin_tile(f: Finding | None) -> tuple[str, str, str] | None:
    if f is None or f.threshold is None or not f.champion or f.low is None:
        return None
    span = (
        f"found {f.difference / f.champion:+.1%}, at worst {f.low / f.champion:+.1%}"
        if f.difference is not None
        else ""
    )
    return ("loss allowed (margin)", f"{abs(f.threshold) / f.champion:.1%}", span)


def _budget_tile(label: str, f: Finding | None, unit: str) -> tuple[str, str, str] | None:
    if f is None or f.challenger is None or f.threshold is None:
        return None
    return (label, f"{f.challenger:.3g} {unit}", f"budget {f.threshold:g} {unit}")


def _shown(f: Finding) -> dict[str, Any]:
    """Returns a row of the table with difference and interval in words; differences always carry a sign."""
    if f.low is None or f.high is None or f.low == f.high == f.challenger:
        return {"f": f, "difference": "", "span": ""}
    if f.difference is None:
        return {"f": f, "difference": "", "span": f"{number(f.low)} to {number(f.high)}"}
    return {"f": f, "difference": f"{f.difference:+.4f}", "span": f"{f.low:+.4f} to {f.high:+.4f}"}


def _recipes(optimized: Path) -> dict[str, Any] | None:
    """Returns optimize's table, its rule and whether its machine was noisy; None where there is no table."""
    found, choice = _json(optimized / "recipes.json"), _json(optimized / "choice.json")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    if not rows:
        return None
    columns, cells = recipe_table.cells(rows)
    verdicts = [row.get("verdict") for row in recipe_table.ordered(rows)]
    told = choice if isinstance(choice, dict) else {}
    return {
        "columns": columns,
        "rows": list(zip(verdicts, cells, strict=True)),
        "rule": told.get("rule") or [],
        "noisy": told.get("noisy") or "",
        "timed": told.get("timed"),
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _image(path: Path) -> str:
    """Returns a picture as a data URI, so that the page stays one file; empty where there is none."""
    if not path.exists():
        return ""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
