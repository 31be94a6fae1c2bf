"""The validation queries a recipe is judged on, and its recall through the index, query by query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.model.goldens import recommend_request, search_request
from pipeline.model.judged import judged_targets, wants_new_items
from pipeline.model.metrics import recall_at_k
from pipeline.model.retriever import Retriever

GOLDEN_RECOMMENDATIONS = 24
GOLDEN_SEARCHES = 8
GOLDEN_REPEATS = 4
MAX_GOLDEN_TEXT = 200
"""Longer ones a server may refuse by its limits, and a golden must be answerable anywhere."""


@dataclass(frozen=True)
class Judged:
    """Queries with at least one target, in file order.

    Attributes:
        exclude_seen: whether the history is left out of the answer, and so cannot be a target.
        users: whose query it is; queries of one user are resampled together.
    """

    queries: list[Query]
    kinds: list[str]
    users: list[str]
    targets: list[list[str]]
    exclude_seen: list[bool]

    @classmethod
    def load(cls, prepared: Artifact, metric: str, part: str = "validation") -> Judged:
        """Reads the queries of `validation.parquet`; those of the test are for benchmarks and the gate alone.

        Args: metric: `shop.metric`; what it means for each kind of query is in `model.judged`.

        Raises: DataError: no query has a target.
        """
        rows = parquet.read_table(prepared.file(f"{part}.parquet")).to_pylist()
        new_only = [wants_new_items(row["kind"], metric) for row in rows]
        wanted = [judged_targets(row, metric) for row in rows]
        kept = [place for place, targets in enumerate(wanted) if targets]
        if not kept:
            raise DataError(
                f"{prepared.path}: none of {len(rows)} validation queries has a target under shop.metric={metric}; "
                "prepare more days, or raise prepare.validation_days."
            )
        return cls(
            [Query.of(rows[place]) for place in kept],
            [rows[place]["kind"] for place in kept],
            [rows[place]["user"] for place in kept],
            [wanted[place] for place in kept],
            [new_only[place] for place in kept],
        )

    def __len__(self) -> int:
        return len(self.queries)

    def recall(self, retriever: Retriever, k: int) -> np.ndarray:
        """Returns float64 [Q]: hits among the k answered items / number of targets, through the shipped files."""
        values_Q = np.zeros(len(self))
        for exclude in (True, False):
            places = [place for place, flag in enumerate(self.exclude_seen) if flag == exclude]
            ranked = retriever.rank([self.queries[p] for p in places], k, exclude)
            values_Q[places] = recall_at_k(ranked, [self.targets[p] for p in places], k)
        return values_Q

    def requests(self, k: int, categories: Sequence[str]) -> list[dict[str, Any]]:
        """Returns golden requests: real ones evenly drawn, some with what was seen, filtered ones, both fallbacks."""
        recommendations = [place for place, kind in enumerate(self.kinds) if kind == "recommend"]
        drawn = [recommend_request(self.queries[p], k) for p in _evenly(recommendations, GOLDEN_RECOMMENDATIONS)]
        again = _evenly(recommendations, GOLDEN_REPEATS)
        filters = [{**drawn[0]["request"], "filter": {"category": category}} for category in categories[:2] if drawn]
        texts = [
            (query.text or "") if kind == "search" else "" for query, kind in zip(self.queries, self.kinds, strict=True)
        ]
        searches = [place for place, text in enumerate(texts) if 0 < len(text.strip()) <= MAX_GOLDEN_TEXT]
        return [
            *drawn,
            *(recommend_request(self.queries[p], k, exclude_seen=False) for p in again),
            *({"path": drawn[0]["path"], "request": body} for body in filters),
            *(search_request(texts[p], k) for p in _evenly(searches, GOLDEN_SEARCHES)),
            recommend_request(Query([], []), k),
            recommend_request(Query(["an item nobody has"], ["view"]), k),
        ]


def _evenly(places: Sequence[int], count: int) -> list[int]:
    if len(places) <= count:
        return list(places)
    return [places[int(at)] for at in np.linspace(0, len(places) - 1, count)]
