"""The validation queries, and how good any ranker's answers to them are, whole and by slice.

Shapes: Q queries, n items, D dim, K answers, P pairs of a query and one of its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.model.judged import wants_new_items
from pipeline.model.lexical import Lexical
from pipeline.model.metrics import METRICS, coverage_at_k, found_at_k, popularity_at_k, recall_at_k
from pipeline.model.repeats import Repeats
from pipeline.model.slices import Catalogued, Targets
from pipeline.model.standing import Standing
from pipeline.model.statistics import intervals

CELLS_PER_BLOCK = 40_000_000
"""Scores held at once: choosing the best of them takes four times their bytes."""
BOOTSTRAP_SAMPLES = 500
LEAST_QUERIES = 10
"""With fewer a row has no interval."""
SENSES = ("judged", "all_items", "new_items")
KINDS = ("recommend", "search")
Answers = Mapping[str, Sequence[Sequence[str]]]
Values = dict[tuple[str, str], np.ndarray]


class Ranker(Protocol):
    """Anything that answers queries with items, best first."""

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]: ...


class VectorRanker:
    """Exact retrieval: the greatest scores over the whole catalogue, dot products and what is added to them.

    Args:
        item_ids: by item index - 1.
        vectors_nD: float32, by item index - 1.
        encode: queries to float32 [Q, D].
        repeats: what is added for items that were met.
        lexical: what is added for words that stand in titles.
    Attributes:
        index: item id to item index.
    """

    def __init__(
        self,
        item_ids: Sequence[str],
        vectors_nD: np.ndarray,
        encode: Callable[[Sequence[Query]], np.ndarray],
        repeats: Repeats | None = None,
        lexical: Lexical | None = None,
    ) -> None:
        self.item_ids, self._vectors_nD, self._encode = np.asarray(item_ids, dtype=object), vectors_nD, encode
        self.index = {item_id: row for row, item_id in enumerate(item_ids, start=1)}
        self.repeats, self.lexical = repeats or Repeats.none(), lexical

    def adding(self, repeats: Repeats, lexical: Lexical | None = None) -> VectorRanker:
        """Returns the same with other additions."""
        return VectorRanker(self.item_ids, self._vectors_nD, self._encode, repeats, lexical)

    def scores(self, queries: Sequence[Query]) -> np.ndarray:
        """Returns float32 [Q, n], the dot products alone."""
        return self._encode(queries) @ self._vectors_nD.T

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]:
        """Returns the k best item ids of each query."""
        answers: list[list[str]] = []
        size = max(1, CELLS_PER_BLOCK // len(self.item_ids))
        for begin in range(0, len(queries), size):
            block = queries[begin : begin + size]
            scores_Qn = self.scores(block)
            for scores_n, query in zip(scores_Qn, block, strict=True):
                if self.lexical:
                    rows_M, added_M = self.lexical.added(query.text)
                    scores_n[rows_M] += added_M
                if exclude_seen:
                    scores_n[[self.index[i] - 1 for i in query.item_ids if i in self.index]] = -np.inf
                else:
                    self.repeats.add_to(scores_n, query, self.index)
            answers += self._best(scores_Qn, k)
        return answers

    def _best(self, scores_Qn: np.ndarray, k: int) -> list[list[str]]:
        k = min(k, scores_Qn.shape[1])
        some_QK = np.argpartition(-scores_Qn, k - 1, axis=1)[:, :k]
        some_scores_QK = np.take_along_axis(scores_Qn, some_QK, 1)
        order_QK = np.argsort(-some_scores_QK, axis=1, kind="stable")
        best_QK, finite_QK = (np.take_along_axis(a, order_QK, 1) for a in (some_QK, np.isfinite(some_scores_QK)))
        return [list(self.item_ids[row[kept]]) for row, kept in zip(best_QK, finite_QK, strict=True)]


@dataclass(frozen=True)
class Validation:
    """Queries with what would have been right.

    Three senses of it: `all_items` counts every target; `new_items` leaves the history out of answers and targets;
    `judged` is what the shop wants (`model.judged`).

    Attributes:
        metric: `shop.metric`.
        targets, new_targets: item ids; the new ones are not in the query's history.
    """

    ids: Sequence[int]
    users: Sequence[str]
    kinds: np.ndarray
    queries: Sequence[Query]
    targets: Sequence[Sequence[str]]
    new_targets: Sequence[Sequence[str]]
    k: int
    metric: str
    items: Catalogued

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
        queries = [Query.of(row) for row in rows]
        return cls(
            [row["query_id"] for row in rows],
            [row["user"] for row in rows],
            np.array([row["kind"] for row in rows]),
            queries,
            [row["target_item_ids"] for row in rows],
            [row["new_target_item_ids"] for row in rows],
            k,
            metric,
            Catalogued.load(prepared),
        )

    def thinned(self, most: int) -> Validation:
        """Returns so many of the queries at most, evenly chosen."""
        names = ("ids", "users", "kinds", "queries", "targets", "new_targets")
        return replace(self, **{name: getattr(self, name)[:: -(-len(self.ids) // most)] for name in names})

    def judged_recall(self, ranker: Ranker) -> float:
        """Returns mean recall@k in the shop's sense: what early stopping goes by."""
        found = []
        for fresh in (True, False):
            rows = np.flatnonzero(self.wants_new_Q == fresh)
            ranked = ranker.rank([self.queries[row] for row in rows], self.k, exclude_seen=fresh)
            found.append(recall_at_k(ranked, [self.wanted["judged"][row] for row in rows], self.k))
        recalls_Q = np.concatenate(found)
        return float(np.nanmean(recalls_Q)) if np.isfinite(recalls_Q).any() else 0.0

    @cached_property
    def wants_new_Q(self) -> np.ndarray:
        """Which queries are judged on new items."""
        return np.array([wants_new_items(kind, self.metric) for kind in self.kinds], bool)

    @cached_property
    def wanted(self) -> dict[str, Sequence[Sequence[str]]]:
        """The targets by sense."""
        judged = self._judged(self.new_targets, self.targets)
        return {"judged": judged, "all_items": self.targets, "new_items": self.new_targets}

    def _judged(self, new: Sequence[Sequence[str]], all_: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        return [new[row] if wants_new else all_[row] for row, wants_new in enumerate(self.wants_new_Q)]

    def answers(self, ranker: Ranker) -> Answers:
        """Returns the k best item ids of each query by sense."""
        all_, new = (ranker.rank(self.queries, self.k, exclude_seen=fresh) for fresh in (False, True))
        return {"judged": self._judged(new, all_), "all_items": all_, "new_items": new}

    def values(self, answers: Answers) -> Values:
        """Returns float64 [Q] by metric and slice, NaN where a query has no target in it.

        Slices are the senses, each of them of one kind of query alone (`judged/search`), and for recall as the shop
        wants it those of `model.slices` (`judged/no history`).
        """
        found = {}
        for sense in SENSES:
            for name, metric in METRICS.items():
                found[name, sense] = metric(answers[sense], self.wanted[sense], self.k)
            popularity_Q = popularity_at_k(answers[sense], self.items.percentiles, self.k)
            found["popularity_percentile", sense] = np.where(self._has_target(sense), popularity_Q, np.nan)
        of_kinds = {
            (name, f"{sense}/{kind}"): np.where(self.kinds == kind, values_Q, np.nan)
            for (name, sense), values_Q in found.items()
            for kind in KINDS
        }
        return {**found, **of_kinds, **self._sliced(answers["judged"])}

    def _has_target(self, sense: str) -> np.ndarray:
        return np.array([len(wanted) > 0 for wanted in self.wanted[sense]], bool)

    def _sliced(self, ranked: Sequence[Sequence[str]]) -> Values:
        targets = Targets(self.kinds, self.queries, self.wanted["judged"], self.items)
        found_P = found_at_k(ranked, targets.targets, self.k)
        slices = {name: inside_P for name, inside_P in targets.slices().items() if name not in KINDS}
        return {("recall", f"judged/{name}"): targets.recall(found_P, inside_P) for name, inside_P in slices.items()}

    def rows(self, model: str, answers: Answers, values: Values) -> list[dict[str, Any]]:
        """Returns the table's rows of one model; of too few queries without an interval, of none without a value."""
        found = intervals(np.column_stack(list(values.values())), self.users, samples=BOOTSTRAP_SAMPLES)
        rows = []
        for (metric, slice_name), figures in zip(values, found, strict=True):
            value = figures.mean if figures.n else None
            span = (figures.low, figures.high) if figures.n >= LEAST_QUERIES else (None, None)
            rows.append(_row(model, f"{metric}@{self.k}", slice_name, value, span, figures.n))
        for sense in SENSES:
            kept = np.flatnonzero(self._has_target(sense))
            covered = coverage_at_k([answers[sense][row] for row in kept], self.k, len(self.items.item_ids))
            rows.append(_row(model, f"coverage@{self.k}", sense, covered, (None, None), len(kept)))
        return rows

    def standings(self, model: Values, baselines: Mapping[str, Values]) -> list[Standing]:
        """Returns how the model's judged recall stands to each baseline's.

        Where people also search, which no baseline can read, on recommendations alone too.

        Args: baselines: by what people call them.
        """
        wheres = {"": "judged"} | ({"recommendations": "judged/recommend"} if len(set(self.kinds)) > 1 else {})
        pairs = [
            (title, where, model["recall", slice_name], values["recall", slice_name])
            for title, values in baselines.items()
            for where, slice_name in wheres.items()
        ]
        differences_QC = np.column_stack([ours_Q - theirs_Q for _, _, ours_Q, theirs_Q in pairs])
        found = intervals(differences_QC, self.users, samples=BOOTSTRAP_SAMPLES)
        return [
            Standing(title, where, float(np.nanmean(ours_Q)), float(np.nanmean(theirs_Q)), f.low, f.high)
            for (title, where, ours_Q, theirs_Q), f in zip(pairs, found, strict=True)
            if f.n
        ]


def _row(
    model: str, metric: str, slice_name: str, value: float | None, span: tuple[float | None, float | None], n: int
) -> dict[str, Any]:
    low, high = span
    return {"model": model, "metric": metric, "slice": slice_name, "value": value, "low": low, "high": high, "n": n}
