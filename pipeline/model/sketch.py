"""A copy of all vectors at half the bytes: it tells which few are worth an exact look, and proves it.

Looking at every vector reads more memory than a processor keeps at hand, and the rest of an answer then finds its code
and tables gone; of a copy in half precision it is half as much. For a query q and a row v kept as v',
|q v - q v'| <= |q| |v - v'| (Cauchy-Schwarz), so rows that the copy ranks low enough cannot be among the best. Where
that is not certain every vector is looked at after all, so the answer is the one an exact search gives.

Shapes: n items, D dim, K answers, C candidates.
"""

from __future__ import annotations

import faiss
import numpy as np

from pipeline.model.breath import breaths

SKETCH_FROM = 4000
"""Fewer vectors are looked at in less time than a copy and its candidates."""
MORE = 16
"""Candidates beside the answers: half precision mistakes a score of 1 by less than a thousandth, few rows lie in it."""
ROUNDING = 1e-5
"""What sums of float32 may be off by."""


class Sketch:
    """Finds the best rows for one query at a time. Not for two threads at once."""

    def __init__(self, vectors_nD: np.ndarray) -> None:
        self._vectors_nD = vectors_nD
        size, dim = vectors_nD.shape
        self._copy = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._off = 0.0
        for rows in breaths(range(size)):
            rows_RD = vectors_nD[rows[0] : rows[-1] + 1]
            self._copy.add(rows_RD)
            off_RD = rows_RD - self._copy.reconstruct_n(rows[0], len(rows))
            self._off = max(self._off, float(np.linalg.norm(off_RD, axis=1).max()))

    def search(self, query_1D: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns float32 scores [1, K], best first, and int64 rows [1, K]; None where they cannot be proven."""
        if k + MORE > len(self._vectors_nD):
            return None
        rough_1C, rows_1C = self._copy.search(query_1D, k + MORE)
        query_D, rows_C = query_1D[0], rows_1C[0]
        scores_C = self._vectors_nD[rows_C] @ query_D
        best_K = np.argsort(-scores_C, kind="stable")[:k]
        most_left_out = rough_1C[0, -1] + self._off * np.sqrt(query_D @ query_D) + ROUNDING
        if scores_C[best_K[-1]] <= most_left_out:
            return None
        return scores_C[best_K][None], rows_C[best_K][None]
