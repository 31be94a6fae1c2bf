"""The test, opened here and nowhere else: queries, what would have been right, and slices of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.model.goldens import recommend_request
from pipeline.model.metrics import recall_at_k

HISTORY = ("history_item_ids", "history_event_types", "history_times")
COLUMNS = ("user", "kind", *HISTORY, "query", "target_item_ids", "new_target_item_ids")


@dataclass(frozen=True)
class Slice:
    """A part of the test, judged on its own."""

    name: str
    holds: Callable[[Mapping[str, Any]], bool]


SLICES: tuple[Slice, ...] = (
    Slice("recommend", lambda row: row["kind"] == "recommend"),
    Slice("search", lambda row: row["kind"] == "search"),
    Slice("no history", lambda row: not row["history_item_ids"]),
    Slice("history of 1 to 4", lambda row: 1 <= len(row["history_item_ids"]) <= 4),
    Slice("history of 5 to 19", lambda row: 5 <= len(row["history_item_ids"]) <= 19),
    Slice("history of 20 and more", lambda row: len(row["history_item_ids"]) >= 20),
)


@dataclass(frozen=True)
class TestSet:
    """Queries that have a target in the shop's sense, with everything needed to judge answers.

    Attributes:
        rows: as `schema.QUERY`, one a query.
        exclude_seen: whether answers leave the history out.
        start: nothing before it was tested on.
        days: length of the test.
    """

    __test__ = False

    rows: Sequence[Mapping[str, Any]]
    targets: Sequence[Sequence[str]]
    exclude_seen: bool
    start: datetime
    days: float

    @classmethod
    def load(cls, prepared: Artifact, metric: str) -> TestSet:
        """Raises: DataError: the test has no query with a target, or lacks a column."""
        import pyarrow.parquet as parquet

        path = prepared.file("test.parquet")
        lacking = set(COLUMNS) - set(parquet.read_schema(path).names)
        if lacking:
            raise DataError(f"{path}: lacks {', '.join(sorted(lacking))}; run the step prepare again with --force.")
        new_only = metric == "new_items"
        column = "new_target_item_ids" if new_only else "target_item_ids"
        rows = [row for row in parquet.read_table(path, columns=list(COLUMNS)).to_pylist() if row[column]]
        split = prepared.json("split.json")
        start, end = moment(split["test_start"]), moment(split["test_end"])
        return cls(rows, [row[column] for row in rows], new_only, start, (end - start).total_seconds() / 86_400)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def queries(self) -> list[Query]:
        return [Query(row["history_item_ids"], row["history_event_types"], row["query"]) for row in self.rows]

    @property
    def users(self) -> list[str]:
        return [row["user"] for row in self.rows]

    @property
    def queries_per_day(self) -> float:
        return len(self) / self.days if self.days else 0.0

    def recalls(self, ranker: Any, k: int) -> np.ndarray:
        """Returns float64 [Q]: each query's recall@k by something with `rank(queries, k, exclude_seen)`."""
        return recall_at_k(ranker.rank(self.queries, k, self.exclude_seen), self.targets, k)

    def facts(self) -> dict[str, Any]:
        """Returns size and dates, for the record."""
        end = self.start + timedelta(days=self.days)
        spans = {"start": self.start.date().isoformat(), "end": end.date().isoformat(), "days": round(self.days, 2)}
        return {"queries": len(self), "users": len(set(self.users)), **spans}

    def slices(self) -> dict[str, np.ndarray]:
        """Returns bool [Q] by the slice's name."""
        return {s.name: np.fromiter((s.holds(row) for row in self.rows), bool, len(self)) for s in SLICES}

    def requests(self, k: int, most: int) -> list[dict[str, Any]]:
        """Returns at most so many queries as a shop would send them, drawn evenly over the test."""
        step = max(1, len(self) // most)
        return [self._request(row, k) for row in list(self.rows)[::step][:most]]

    def _request(self, row: Mapping[str, Any], k: int) -> dict[str, Any]:
        query = Query(row["history_item_ids"], row["history_event_types"], row["query"])
        times = [(time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat() for time in row["history_times"]]
        return recommend_request(query, times, k, exclude_seen=self.exclude_seen)


def moment(text: str) -> datetime:
    """Returns an aware time from ISO text; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
