"""How every baseline answers: what it scores first, then what is popular.

Shapes: Q queries of a block, n items, H items of their histories, each once a query, K answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.model.baselines.interactions import Interactions
from pipeline.model.features import Query

QUERIES_PER_BLOCK = 256


@dataclass(frozen=True)
class Histories:
    """The known items of some queries.

    Attributes:
        queries: how many; items: n.
        query_H, item_H: int64, the query's place, the item's index - 1.
        step_H: int64, 1 for the item the query met last, 2 for the one before, and so on.
        times_met_H: int64, how often the query met it.
    """

    queries: int
    items: int
    query_H: np.ndarray
    item_H: np.ndarray
    step_H: np.ndarray
    times_met_H: np.ndarray

    @classmethod
    def of(cls, queries: Sequence[Query], index: Mapping[str, int]) -> Histories:
        """Args: index: item id to index - 1."""
        rows = []
        for place, query in enumerate(queries):
            known = [index[item_id] for item_id in reversed(query.item_ids) if item_id in index]
            rows += [(place, item, step, met) for step, (item, met) in enumerate(Counter(known).items(), start=1)]
        return cls(len(queries), len(index), *np.array(rows, np.int64).reshape(-1, 4).T)

    def matrix(self, values_H: np.ndarray) -> Any:
        """Returns sparse [Q, n]."""
        return sparse.csr_array((values_H, (self.query_H, self.item_H)), shape=(self.queries, self.items))


class Baseline:
    """Ranks the catalogue by a score that is zero for most items; equal scores go by popularity, then by index.

    Args: popularity_n: what orders items of equal score.
    Attributes: title: what people call it.
    """

    title: str

    def __init__(self, log: Interactions, popularity_n: np.ndarray) -> None:
        self._ids = np.asarray(log.item_ids, dtype=object)
        self._index = {item_id: row for row, item_id in enumerate(log.item_ids)}
        self._popular = np.argsort(-popularity_n, kind="stable")
        self._place_n = np.argsort(self._popular, kind="stable")

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]:
        """Returns the k best item ids of each query, best first."""
        answers: list[list[str]] = []
        for begin in range(0, len(queries), QUERIES_PER_BLOCK):
            histories = Histories.of(queries[begin : begin + QUERIES_PER_BLOCK], self._index)
            seen_Qn = histories.matrix(histories.times_met_H)
            scores_Qn = self.scores(histories)
            for row in range(histories.queries):
                seen = seen_Qn.indices[slice(*seen_Qn.indptr[row : row + 2])] if exclude_seen else np.zeros(0, np.int64)
                scored = slice(*scores_Qn.indptr[row : row + 2])
                best_K = self._best(scores_Qn.indices[scored], scores_Qn.data[scored], seen, k)
                answers.append(self._ids[best_K].tolist())
        return answers

    def scores(self, histories: Histories) -> Any:
        """Returns sparse [Q, n] in rows, each item once a row; what is above zero precedes what is popular."""
        return sparse.csr_array((histories.queries, histories.items))

    def _best(self, items: np.ndarray, scores: np.ndarray, seen: np.ndarray, k: int) -> np.ndarray:
        """Args: items: of `scores` float [any]; seen: items that may not be answered."""
        # Sums of the same numbers in another order must stay equal.
        scores = np.where(np.isin(items, seen), 0.0, scores).astype(np.float32)
        least = np.partition(scores, -k)[-k] if len(scores) > k else 0.0
        kept = (scores >= least) & (scores > 0)
        items, scores = items[kept], scores[kept]
        best = items[np.lexsort((self._place_n[items], -scores))[:k]]
        if len(best) < k:
            popular = self._popular[: k + len(seen)]
            best = np.append(best, popular[~np.isin(popular, np.append(best, seen))])[:k]
        return best
