"""What a model must beat: popularity, item-KNN and a user's own items again, built from training alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.core.artifacts import Artifact
from pipeline.model.features import Query

NEIGHBOURS = 20
ITEMS_PER_BLOCK = 2048
QUERIES_PER_BLOCK = 256


@dataclass(frozen=True)
class Interactions:
    """Who met what in training.

    Attributes:
        item_ids: by item index - 1.
        items: int32 [N], item indices of all sequences end to end.
        offsets: int64 [S + 1], where each sequence begins, and the end.
    """

    item_ids: Sequence[str]
    items: np.ndarray
    offsets: np.ndarray

    @classmethod
    def load(cls, prepared: Artifact) -> Interactions:
        """Reads what `prepare` made."""
        import pyarrow.parquet as parquet

        table = parquet.read_table(prepared.file("items.parquet"), columns=["item_id"])
        return cls(
            table["item_id"].to_pylist(),
            np.load(prepared.file("sequence_items.npy"), mmap_mode="r"),
            np.load(prepared.file("sequence_offsets.npy"), mmap_mode="r"),
        )


class Baseline:
    """Ranks the whole catalogue by a score; equal scores go by popularity, then by index.

    Popularity counts the people who met an item, not how often: on shops where people repeat it finds more.
    """

    def __init__(self, log: Interactions) -> None:
        self.item_ids = np.asarray(log.item_ids, dtype=object)
        self.index = {item_id: row for row, item_id in enumerate(log.item_ids)}
        people_n = np.asarray(_met(log).sum(axis=0)).ravel()
        by_popularity = np.argsort(-people_n, kind="stable")
        self._tie_n = np.empty(len(people_n))
        self._tie_n[by_popularity] = np.linspace(1.0, 0.0, len(people_n), endpoint=False) * 1e-9

    def rank(self, queries: Sequence[Query], k: int, exclude_seen: bool) -> list[list[str]]:
        """Returns the k best item ids of each query, best first."""
        answers: list[list[str]] = []
        for begin in range(0, len(queries), QUERIES_PER_BLOCK):
            block = queries[begin : begin + QUERIES_PER_BLOCK]
            history = self._history(block)
            scores_Qn = self._scores(history) + self._tie_n
            if exclude_seen:
                scores_Qn[history.nonzero()] = -np.inf
            answers += [[str(i) for i in self.item_ids[row]] for row in _top(scores_Qn, k)]
        return answers

    def _scores(self, history_Qn: sparse.csr_array) -> np.ndarray:
        raise NotImplementedError

    def _history(self, queries: Sequence[Query]) -> sparse.csr_array:
        """Returns float64 [Q, n]: 1 where the query's history holds the item."""
        pairs = {(row, self.index[i]) for row, query in enumerate(queries) for i in query.item_ids if i in self.index}
        rows, columns = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
        return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(queries), len(self.item_ids)))


def _top(scores_Qn: np.ndarray, k: int) -> list[np.ndarray]:
    k = min(k, scores_Qn.shape[1])
    some_Qk = np.argpartition(-scores_Qn, k - 1, axis=1)[:, :k]
    order_Qk = np.argsort(-np.take_along_axis(scores_Qn, some_Qk, 1), axis=1, kind="stable")
    best_Qk = np.take_along_axis(some_Qk, order_Qk, 1)
    return [row[np.isfinite(scores_Qn[i, row])] for i, row in enumerate(best_Qk)]


class Popularity(Baseline):
    """The same answer for everybody."""

    def _scores(self, history_Qn: sparse.csr_array) -> np.ndarray:
        return np.zeros(history_Qn.shape)


class OwnItems(Baseline):
    """The user's own items again, the popular ones first."""

    def _scores(self, history_Qn: sparse.csr_array) -> np.ndarray:
        return history_Qn.toarray()


class ItemKnn(Baseline):
    """Items met by the same people as those in the history: the sum of cosines between items' sets of sequences.

    Source: Sarwar et al. 2001, section 3.1, on binary interactions, keeping each item's nearest neighbours.
    """

    def __init__(self, log: Interactions, neighbours: int = NEIGHBOURS) -> None:
        super().__init__(log)
        self._similarity_nn = _cosine_neighbours(log, neighbours)

    def _scores(self, history_Qn: sparse.csr_array) -> np.ndarray:
        return (history_Qn @ self._similarity_nn).toarray()


def _cosine_neighbours(log: Interactions, neighbours: int) -> sparse.csr_array:
    met_Sn = _met(log)
    length_n = np.sqrt(np.asarray(met_Sn.sum(axis=0)).ravel())
    unit_nS = (met_Sn * (1.0 / np.maximum(length_n, 1.0))).T.tocsr()
    unit_Sn = unit_nS.T.tocsr()
    blocks = []
    for begin in range(0, unit_nS.shape[0], ITEMS_PER_BLOCK):
        cosine = (unit_nS[begin : begin + ITEMS_PER_BLOCK] @ unit_Sn).tocsr()
        cosine.setdiag(0.0, k=begin)
        blocks.append(_nearest(cosine, neighbours))
    return sparse.vstack(blocks, format="csr")


def _met(log: Interactions) -> Any:
    sequence_N = np.repeat(np.arange(len(log.offsets) - 1), np.diff(log.offsets))
    ones_N = np.ones(len(log.items))
    shape = (len(log.offsets) - 1, len(log.item_ids))
    met_Sn = sparse.csr_array((ones_N, (sequence_N, log.items - 1)), shape=shape)
    met_Sn.sum_duplicates()
    met_Sn.data[:] = 1.0
    return met_Sn


def _nearest(cosine: Any, neighbours: int) -> sparse.csr_array:
    """Keeps the largest entries of each row."""
    row_of = np.repeat(np.arange(cosine.shape[0]), np.diff(cosine.indptr))
    order = np.lexsort((cosine.indices, -cosine.data, row_of))
    place = np.arange(len(order)) - cosine.indptr[row_of[order]]
    kept = order[(place < neighbours) & (cosine.data[order] > 0)]
    return sparse.csr_array((cosine.data[kept], (row_of[kept], cosine.indices[kept])), shape=cosine.shape)


def popularity(log: Interactions) -> Baseline:
    return Popularity(log)


def own_items(log: Interactions) -> Baseline:
    return OwnItems(log)


def item_knn(log: Interactions, neighbours: int = NEIGHBOURS) -> Baseline:
    return ItemKnn(log, neighbours)
