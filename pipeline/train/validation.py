"""The validation queries, and how good any ranker's answers to them are, whole and by slice.

Shapes: Q queries, n items, D dim, K answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.model.metrics import METRICS, recall_at_k
from pipeline.model.statistics import interval

QUERIES_PER_BLOCK = 1024
BOOTSTRAP_SAMPLES = 500
KINDS = ("recommend", "search")


class Ranker(Protocol):
    """Anything that answers queries with items, best first."""

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]: ...


class VectorRanker:
    """Exact retrieval: the greatest dot products over the whole catalogue.

    Args:
        item_ids: by item index - 1.
        vectors_nD: float32, by item index - 1.
        encode: queries to float32 [Q, D].
    """

    def __init__(
        self, item_ids: Sequence[str], vectors_nD: np.ndarray, encode: Callable[[Sequence[Query]], np.ndarray]
    ) -> None:
        self._ids, self._vectors_nD, self._encode = np.asarray(item_ids, dtype=object), vectors_nD, encode
        self._row = {item_id: row for row, item_id in enumerate(item_ids)}

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]:
        """Returns the k best item ids of each query."""
        answers: list[list[str]] = []
        for begin in range(0, len(queries), QUERIES_PER_BLOCK):
            block = queries[begin : begin + QUERIES_PER_BLOCK]
            scores_Qn = self._encode(block) @ self._vectors_nD.T
            if exclude_seen:
                self._forbid_seen(scores_Qn, block)
            answers += self._best(scores_Qn, k)
        return answers

    def _forbid_seen(self, scores_Qn: np.ndarray, queries: Sequence[Query]) -> None:
        for place, query in enumerate(queries):
            scores_Qn[place, [self._row[i] for i in query.item_ids if i in self._row]] = -np.inf

    def _best(self, scores_Qn: np.ndarray, k: int) -> list[list[str]]:
        k = min(k, scores_Qn.shape[1])
        some_QK = np.argpartition(-scores_Qn, k - 1, axis=1)[:, :k]
        some_scores_QK = np.take_along_axis(scores_Qn, some_QK, 1)
        order_QK = np.argsort(-some_scores_QK, axis=1, kind="stable")
        best_QK, finite_QK = (np.take_along_axis(a, order_QK, 1) for a in (some_QK, np.isfinite(some_scores_QK)))
        return [list(self._ids[row[kept]]) for row, kept in zip(best_QK, finite_QK, strict=True)]


@dataclass(frozen=True)
class Validation:
    """Queries with what would have been right.

    Attributes:
        new_items: whether the shop wants recommendations the user did not have before.
        targets, new_targets: item ids; the new ones are not in the query's history.
    """

    ids: Sequence[int]
    users: Sequence[str]
    kinds: np.ndarray
    queries: Sequence[Query]
    targets: Sequence[Sequence[str]]
    new_targets: Sequence[Sequence[str]]
    k: int
    new_items: bool

    @classmethod
    def load(cls, prepared: Artifact, k: int, metric: str) -> Validation:
        """Raises: DataError: there is no query to judge by."""
        import pyarrow.parquet as parquet

        path = prepared.file("validation.parquet")
        rows = parquet.read_table(path).to_pylist()
        if not rows:
            raise DataError(
                f"{path}: holds no query, so early stopping has nothing to go by; lengthen prepare.validation_days."
            )
        queries = [Query(row["history_item_ids"], row["history_event_types"], row["query"]) for row in rows]
        return cls(
            [row["query_id"] for row in rows],
            [row["user"] for row in rows],
            np.array([row["kind"] for row in rows]),
            queries,
            [row["target_item_ids"] for row in rows],
            [row["new_target_item_ids"] for row in rows],
            k,
            metric == "new_items",
        )

    def judged_recall(self, ranker: Ranker) -> float:
        """Returns mean recall@k in the shop's sense: what early stopping goes by."""
        found = []
        for fresh in (True, False):
            rows = np.flatnonzero(self.wants_new_Q == fresh)
            targets = self.new_targets if fresh else self.targets
            ranked = ranker.rank([self.queries[row] for row in rows], self.k, exclude_seen=fresh)
            found.append(recall_at_k(ranked, [targets[row] for row in rows], self.k))
        recalls_Q = np.concatenate(found)
        return float(np.nanmean(recalls_Q)) if np.isfinite(recalls_Q).any() else 0.0

    @property
    def wants_new_Q(self) -> np.ndarray:
        """Which queries are judged on new items: recommendations, where the shop says so."""
        return (self.kinds == "recommend") & self.new_items

    def values(self, ranker: Ranker, metrics: Iterable[str] = tuple(METRICS)) -> dict[tuple[str, str], np.ndarray]:
        """Returns float64 [Q] by metric and sense, NaN where a query has no target.

        The senses: `all_items` counts every target; `new_items` leaves the history out of answers and targets;
        `judged` is what the shop wants: a recommendation by `shop.metric`, a search always by all items.
        """
        whole = ranker.rank(self.queries, self.k, exclude_seen=False)
        fresh = ranker.rank(self.queries, self.k, exclude_seen=True)
        found: dict[tuple[str, str], np.ndarray] = {}
        for name in metrics:
            found[name, "all_items"] = METRICS[name](whole, self.targets, self.k)
            found[name, "new_items"] = METRICS[name](fresh, self.new_targets, self.k)
            found[name, "judged"] = np.where(self.wants_new_Q, found[name, "new_items"], found[name, "all_items"])
        return found

    def rows(self, model: str, values: dict[tuple[str, str], np.ndarray]) -> list[dict[str, Any]]:
        """Returns the table's rows of one model, each with its interval by a bootstrap over users."""
        table = []
        for (metric, sense), values_Q in values.items():
            for kind in (None, *KINDS):
                inside_Q = np.isfinite(values_Q) & ((self.kinds == kind) if kind else True)
                if inside_Q.any():
                    users = [user for user, inside in zip(self.users, inside_Q, strict=True) if inside]
                    found = interval(values_Q[inside_Q], users, samples=BOOTSTRAP_SAMPLES)
                    slice_name = f"{sense}/{kind}" if kind else sense
                    table.append(_row(model, f"{metric}@{self.k}", slice_name, found))
        return table


def _row(model: str, metric: str, slice_name: str, found: Any) -> dict[str, Any]:
    figures = {"value": found.mean, "low": found.low, "high": found.high, "n": found.n}
    return {"model": model, "metric": metric, "slice": slice_name, **figures}
