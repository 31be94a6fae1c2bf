"""The test, opened here and nowhere else: queries, what would have been right, and slices of them.

Shapes: Q queries, P pairs of a query and one of its targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.model.goldens import recommend_request
from pipeline.model.judged import judged_targets, wants_new_items
from pipeline.model.metrics import found_at_k
from pipeline.model.slices import Catalogued, Targets

HISTORY = ("history_item_ids", "history_event_types", "history_times")
COLUMNS = ("user", "kind", "time", *HISTORY, "query", "context", "target_item_ids", "new_target_item_ids")


@dataclass(frozen=True)
class TestSet:
    """Queries that have a target in the shop's sense, with everything needed to judge answers.

    Attributes:
        rows: as `schema.QUERY`, one a query.
        exclude_seen: by query, whether its answer leaves the history out.
        start: nothing before it was tested on.
        days: length of the test.
        items: what training knew of them.
    """

    __test__ = False

    rows: Sequence[Mapping[str, Any]]
    targets: Sequence[Sequence[str]]
    exclude_seen: Sequence[bool]
    start: datetime
    days: float
    items: Catalogued

    @classmethod
    def load(cls, prepared: Artifact, metric: str) -> TestSet:
        """Raises: DataError: the test has no query with a target, or lacks a column."""
        import pyarrow.parquet as parquet

        path = prepared.file("test.parquet")
        lacking = set(COLUMNS) - set(parquet.read_schema(path).names)
        if lacking:
            raise DataError(f"{path}: lacks {', '.join(sorted(lacking))}; run the step prepare again with --force.")
        rows = [
            row for row in parquet.read_table(path, columns=list(COLUMNS)).to_pylist() if judged_targets(row, metric)
        ]
        split = prepared.json("split.json")
        start, end = moment(split["test_start"]), moment(split["test_end"])
        return cls(
            rows,
            [judged_targets(row, metric) for row in rows],
            [wants_new_items(row["kind"], metric) for row in rows],
            start,
            (end - start).total_seconds() / 86_400,
            Catalogued.load(prepared),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def queries(self) -> list[Query]:
        return [Query.of(row) for row in self.rows]

    @cached_property
    def judged(self) -> Targets:
        """The targets, which slices are parts of."""
        return Targets([row["kind"] for row in self.rows], self.queries, self.targets, self.items)

    @property
    def users(self) -> list[str]:
        return [row["user"] for row in self.rows]

    @property
    def queries_per_day(self) -> float:
        return len(self) / self.days if self.days else 0.0

    def answers(self, ranker: Any, k: int) -> list[Sequence[str]]:
        """Returns item ids, best first, for each query, of something with `rank(queries, k, exclude_seen)`."""
        answers: list[Sequence[str]] = [()] * len(self)
        for exclude in (True, False):
            rows = [row for row, flag in enumerate(self.exclude_seen) if flag == exclude]
            ranked = ranker.rank([self.queries[row] for row in rows], k, exclude)
            for row, answer in zip(rows, ranked, strict=True):
                answers[row] = answer
        return answers

    def found(self, answers: Sequence[Sequence[str]], k: int) -> np.ndarray:
        """Returns float64 [P]: 1 for each target that is among its query's first k, else 0."""
        return found_at_k(answers, self.targets, k)

    def facts(self) -> dict[str, Any]:
        """Returns size and dates, for the record."""
        end = self.start + timedelta(days=self.days)
        spans = {"start": self.start.date().isoformat(), "end": end.date().isoformat(), "days": round(self.days, 2)}
        return {"queries": len(self), "users": len(set(self.users)), **spans}

    def requests(self, k: int, most: int) -> list[dict[str, Any]]:
        """Returns at most so many queries as a shop would send them, drawn evenly over the test."""
        step = max(1, len(self) // most)
        drawn = range(0, len(self), step)[:most]
        return [recommend_request(self.queries[row], k, exclude_seen=self.exclude_seen[row]) for row in drawn]


def moment(text: str) -> datetime:
    """Returns an aware time from ISO text; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
