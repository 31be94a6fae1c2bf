"""The model card: one page of Markdown a reviewer reads in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.model import recipe_table
from pipeline.model.bundle import Bundle
from pipeline.register.lineage import Lineage

JUDGED = ("judged", "judged/recommend", "judged/search")
BIASES: Mapping[str, str] = {
    "coverage": "share of the catalogue that is in any answer",
    "popularity_percentile": "mean percentile of an answered item's popularity in training; .5 would favour nobody",
}
WORST_SLICES = 6


def write_card(lineage: Lineage, bundle: Bundle) -> str:
    """Returns the card."""
    sections = (_head, _use, _accuracy, _biases, _limits, _data, _recipes, _origin)
    return "\n".join(line for section in sections for line in section(lineage, bundle))


def _head(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield f"## Two towers, data until {_moment(bundle.data_end)}"
    yield ""
    yield f"Retrieval for recommendation and search: recipe **{bundle.recipe}**, {bundle.bytes / 1e6:,.1f} MB, index "
    yield f"{_shown(bundle.manifest['index'])}. Bundle `{bundle.digest}`."


def _use(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield "\n### Use\n"
    yield "Finds a few dozen items of this shop's catalogue, from the history, the context and the words sent with a"
    yield "request: for recommendations, search and similar items, and for whatever ranks them afterwards. Served by"
    yield "`python -m pipeline serve`, or loaded by `mlflow.pyfunc.load_model`; the input example is a request it was"
    yield "sealed with. Not meant for another shop's catalogue, for decisions about people, nor as the only way to find"
    yield "what must be found, such as a product recall."


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
    others = tuple(f"{name}@" for name in BIASES)
    yield from _by_model(
        row for row in lineage.figures if row["slice"] in JUDGED and not row["metric"].startswith(others)
    )


def _biases(lineage: Lineage, bundle: Bundle) -> Iterator[str]:
    yield "\n### Biases, measured on validation\n"
    told = {name: [row for row in lineage.figures if row["metric"].startswith(f"{name}@")] for name in BIASES}
    yield from (f"- {name}: {BIASES[name]}." for name, rows in told.items() if rows)
    yield ""
    yield from _by_model(row for rows in told.values() for row in rows if row["slice"] == "judged")
    yield from _worst(lineage)


def _worst(lineage: Lineage) -> Iterator[str]:
    """Tells whom the model serves worst: its slices of lowest recall, those with no interval left out."""
    model = lineage.figures[0]["model"]
    ours = [row for row in lineage.figures if row["model"] == model and row["metric"].startswith("recall@")]
    slices = [row for row in ours if row["slice"].startswith("judged/") and row["low"] is not None]
    if not slices:
        return
    worst = sorted(slices, key=lambda row: row["value"])[:WORST_SLICES]
    yield "\nWhom it serves worst:\n"
    rows = [(row["slice"].removeprefix("judged/"), _with_interval(row), _shown(row["n"])) for row in worst]
    yield from _table(("slice", worst[0]["metric"], "queries"), rows)


def _by_model(figures: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line a metric and slice, a column a model."""
    found = {(row["metric"], row["slice"], row["model"]): row for row in figures}
    models = list(dict.fromkeys(model for _, _, model in found))
    lines = list(dict.fromkeys(key[:2] for key in found))
    rows = [[*line, *(_with_interval(found.get((*line, model))) for model in models)] for line in lines]
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
