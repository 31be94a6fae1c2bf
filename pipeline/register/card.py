"""The model card: one page of Markdown a reviewer reads in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.model import recipe_table
from pipeline.model.bundle import Bundle
from pipeline.register.lineage import Lineage

JUDGED = ("judged", "judged/recommend", "judged/search")


def write_card(lineage: Lineage, bundle: Bundle) -> str:
    """Returns the card."""
    sections = (_head, _accuracy, _recipes, _data, _limits, _origin)
    return "\n".join(line for section in sections for line in section(lineage, bundle))


def _head(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield f"## Two towers, data until {_moment(bundle.data_end)}"
    yield ""
    yield f"Retrieval for recommendation and search: recipe **{bundle.recipe}**, {bundle.bytes / 1e6:,.1f} MB, index "
    yield f"{_shown(bundle.manifest['index'])}. Bundle `{bundle.digest}`."


def _data(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    split = lineage.split
    yield "\n### Data\n"
    first, last = split["window"]
    ends = [_moment(split[name]) for name in ("validation_start", "test_start", "test_end")]
    yield f"Days {first} to {last}. Training ends {ends[0]}, validation {ends[1]}, test {ends[2]}; nothing after "
    yield f"{_moment(bundle.data_end)} was seen by training or choice.\n"
    yield from _table(("counted", "n"), [(name, _shown(n)) for name, n in split["counts"].items()])


def _accuracy(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield "\n### Accuracy on validation, before compression\n"
    yield f"**{lineage.standing}**\n"
    yield "With intervals by a bootstrap over users; `judged` is what the shop's metric counts. Every other slice is in"
    yield "`records/metrics.json`. The gate opens the test and adds its own record.\n"
    figures = {(row["metric"], row["slice"], row["model"]): row for row in lineage.figures}
    models = list(dict.fromkeys(model for _, _, model in figures))
    lines = [line for line in dict.fromkeys(key[:2] for key in figures) if line[1] in JUDGED]
    rows = [[*line, *(_with_interval(figures.get((*line, model))) for model in models)] for line in lines]
    yield from _table(("metric", "slice", *models), rows)


def _with_interval(row: Mapping[str, Any] | None) -> str:
    if row is None or row["low"] is None:
        return _shown(row and row["value"])
    return _shown({"mean": row["value"], "low": row["low"], "high": row["high"]})


def _recipes(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield "\n### Recipes tried\n"
    yield "Recall through the index, on validation, paired with float32's query by query; speed is CPU time of tower"
    yield "and index, one thread, paired call by call. 95 % intervals.\n"
    columns, rows = recipe_table.cells(lineage.recipes)
    yield from _table([column.name for column in columns], rows)
    yield f"\nChosen: **{lineage.choice['recipe']}**, {lineage.choice['reason']}"
    if lineage.choice.get("noisy"):
        yield f"\n**{lineage.choice['noisy']}**"
    if skew := lineage.choice.get("skew"):
        yield f"\nVersion skew, against champion `{skew['champion'][:12]}`: {skew['sentence']}."
    yield from (f"\n{place}. {rule}" for place, rule in enumerate(lineage.choice.get("rule", ()), start=1))


def _limits(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield "\n### Limits\n"
    yield "- It retrieves; it does not rank by margin, stock or promotion."
    yield "- Items and taste newer than the data's end are known by content or by the request's history alone."
    yield "- Users and sessions are pseudonyms; no attribute of a person is an input."
    yield "- Accuracy is of clicks and purchases the shop's former pages led to, not of what people might have wanted."


def _origin(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield "\n### Where it comes from\n"
    keys = {stage: key for stage, key in lineage.keys.items() if "/" not in stage}
    days = sum(stage.startswith("ingest/") for stage in lineage.keys)
    rows = [
        ("run", lineage.run_id),
        ("days", lineage.days),
        ("as of", lineage.as_of),
        ("commit", lineage.commit or "-"),
    ]
    yield from _table(
        ("what", "which"), [*rows, *((f"{s} key", k) for s, k in keys.items()), ("ingested days", str(days))]
    )


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield _line(head)
    yield _line(["---"] * len(head))
    yield from (_line(row) for row in rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and {"mean", "low", "high"} <= value.keys()


def _shown(value: Any) -> str:
    if _is_interval(value):
        return f"{_shown(value['mean'])} [{_shown(value['low'])}, {_shown(value['high'])}]"
    if isinstance(value, bool) or value is None:
        return "-" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return str(value)
