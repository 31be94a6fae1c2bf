"""The item index of a bundle and, behind its rows, vectors of items put since.

Those are few: each is looked at, in float32, whatever the bundle's index does.

Shapes: Q queries, D dim, K answers, R rows, M live rows.
"""

from __future__ import annotations

import numpy as np

from pipeline.model.columns import Growing
from pipeline.model.item_index import ItemIndex


class LiveIndex:
    """Searches as the bundle's index does, and answers as it does while nothing was put. Not for two threads at once.

    Attributes: sealed: the bundle's index.
    """

    def __init__(self, sealed: ItemIndex) -> None:
        self.sealed = sealed
        self._vectors = Growing(np.zeros((0, sealed.dim), np.float32))
        self._offered = Growing(np.zeros(0, bool))
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def dim(self) -> int:
        return self.sealed.dim

    def __len__(self) -> int:
        return len(self.sealed) + len(self._vectors)

    def add(self, vectors_MD: np.ndarray) -> None:
        """Puts vectors behind the last row."""
        self._vectors.add(np.asarray(vectors_MD, np.float32))
        self._offered.add(np.ones(len(vectors_MD), bool))

    def replace(self, row: int, vector_D: np.ndarray) -> None:
        """Sets the vector of a live row."""
        self._vectors.rows[row - len(self.sealed)] = vector_D

    def drop(self, row: int) -> None:
        """Never answers a live row again; its number stays taken."""
        self._offered.rows[row - len(self.sealed)] = False

    def vectors(self, rows_R: np.ndarray) -> np.ndarray:
        """Returns float32 [R, D], as stored."""
        if not len(self._vectors):
            return self.sealed.vectors(rows_R)
        rows_R, begin = np.asarray(rows_R, np.int64), len(self.sealed)
        live_R = rows_R >= begin
        found_RD = np.empty((len(rows_R), self.dim), np.float32)
        found_RD[live_R] = self._vectors.rows[rows_R[live_R] - begin]
        if not live_R.all():
            found_RD[~live_R] = self.sealed.vectors(rows_R[~live_R])
        return found_RD

    def search(self, queries_QD: np.ndarray, k: int, only: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best rows of each query; the bundle's come first where scores are equal.

        Args and returns: as `ItemIndex.search`.
        """
        if not len(self._vectors):
            return self.sealed.search(queries_QD, k, only)
        live_M = self._allowed(only)
        scores_QK, rows_QK = self.sealed.search(queries_QD, k, None if only is None else self._cut(only))
        if not len(live_M):
            return scores_QK, rows_QK
        vectors_MD = self._vectors.rows if len(live_M) == len(self._vectors) else self._vectors.rows[live_M]
        live_QM = np.asarray(queries_QD, np.float32) @ vectors_MD.T
        best_QK = np.broadcast_to(np.arange(len(live_M)), live_QM.shape)
        if len(live_M) > k:
            best_QK = np.sort(np.argpartition(-live_QM, k - 1, axis=1)[:, :k], axis=1)
        scores_QK = np.concatenate([scores_QK, np.take_along_axis(live_QM, best_QK, axis=1)], axis=1)
        rows_QK = np.concatenate([rows_QK, live_M[best_QK] + len(self.sealed)], axis=1)
        order_QK = np.argsort(-scores_QK, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores_QK, order_QK, axis=1), np.take_along_axis(rows_QK, order_QK, axis=1)

    def _cut(self, only: np.ndarray) -> np.ndarray:
        """Returns those of the bundle's own rows; the very same again for the very same, which its index looks for."""
        if not len(only) or only[-1] < len(self.sealed):
            return only
        if self._last is None or self._last[0] is not only:
            self._last = only, only[: np.searchsorted(only, len(self.sealed))]
        return self._last[1]

    def _allowed(self, only: np.ndarray | None) -> np.ndarray:
        """Returns the live rows that may be answered, counted from the first of them, ascending."""
        if only is None:
            return np.flatnonzero(self._offered.rows)
        live_M = only[np.searchsorted(only, len(self.sealed)) :] - len(self.sealed)
        return live_M[self._offered.rows[live_M]]
