"""`shop.metric` decides what counts as found, in the same way for early stopping, recipe choice and gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipeline.core import artifacts
from pipeline.core.artifacts import Artifact
from pipeline.gate.held_out import TestSet
from pipeline.model.features import Query
from pipeline.optimize.judged import Judged
from pipeline.train.validation import Validation

MOMENT = datetime(2024, 5, 8, tzinfo=UTC)
# Kind, history, targets, new targets: a recommendation of an old and a new item, one of an old item alone, a search
# for an old item, and a search for an old and a new one.
ROWS = (
    ("recommend", ["a"], ["a", "b"], ["b"]),
    ("recommend", ["a"], ["a"], []),
    ("search", ["a"], ["a"], []),
    ("search", ["a"], ["a", "b"], ["b"]),
)


class Fixed:
    """Answers a, b, c, d in this order."""

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]:
        return [[item for item in "abcd" if not exclude_seen or item not in query.item_ids][:k] for query in queries]


@pytest.fixture
def prepared(tmp_path: Path) -> Artifact:
    return artifacts.build(tmp_path / "prepared", _fill)


def _fill(folder: Path) -> None:
    rows = [
        {
            "query_id": number, "user": f"u{number}", "kind": kind, "time": MOMENT, "query": None, "context": None,
            "history_item_ids": history, "history_event_types": ["view"], "history_times": [MOMENT],
            "target_item_ids": targets, "new_target_item_ids": new,
        }
        for number, (kind, history, targets, new) in enumerate(ROWS)
    ]  # fmt: skip
    for name in ("validation", "test"):
        parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    items = {"item_id": list("abcd"), "probability": np.full(4, 0.25), "events": np.ones(4, np.int64)}
    nothing = {"category": pa.nulls(4, pa.string()), "price": pa.nulls(4, pa.float64())}
    parquet.write_table(pa.table({**items, **nothing}), folder / "items.parquet")
    split = {"test_start": MOMENT.isoformat(), "test_end": MOMENT.isoformat()}
    (folder / "split.json").write_text(json.dumps(split))


@pytest.mark.parametrize(
    ("metric", "recalls"),
    [
        # k = 1. New items: the first is answered b and wants b; the second has no target and is left out. The searches
        # are answered a, and want all there is.
        ("new_items", [1.0, 1.0, 0.5]),
        # All items: everybody is answered a.
        ("all_items", [0.5, 1.0, 1.0, 0.5]),
    ],
)
def test_every_stage_counts_the_same(prepared: Artifact, metric: str, recalls: list[float]) -> None:
    validation, judged = Validation.load(prepared, 1, metric), Judged.load(prepared, metric)
    test = TestSet.load(prepared, metric)
    stopping = validation.values(validation.answers(Fixed()))["recall", "judged"]
    assert stopping[np.isfinite(stopping)].tolist() == recalls
    assert validation.judged_recall(Fixed()) == pytest.approx(np.mean(recalls))
    assert judged.recall(Fixed(), 1).tolist() == recalls  # type: ignore[arg-type]
    assert test.judged.recall(test.found(test.answers(Fixed(), 1), 1)).tolist() == recalls
    assert [request["request"]["exclude_seen"] for request in test.requests(1, 9)] == list(test.exclude_seen)


def test_the_table_has_both_senses_whatever_the_setting(prepared: Artifact) -> None:
    validation = Validation.load(prepared, 1, "new_items")
    values = validation.values(validation.answers(Fixed()))
    assert np.nanmean(values["recall", "all_items"]) == 0.75
    # With new items alone the last search is answered b, which is its only new target.
    assert np.nanmean(values["recall", "new_items"]) == 1.0
