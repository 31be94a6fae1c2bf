"""Implicit ALS (Hu, Koren & Volinsky 2008). A query is a new user whose factors are solved from its history.

The library's tutorial weighs by BM25 with K1 100, B 0.8 and takes 64 factors, regularization 0.05, alpha 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.peers.matrices import counts
from benchmarks.peers.search import Histories, Scores, Settings, Task, main

FIRST = {"weight": "bm25", "factors": 64, "regularization": 0.05, "alpha": 2.0}
CHOICES = {
    "weight": ["bm25", "count", "log", "once"],
    "factors": [32, 64, 128, 256],
    "regularization": [0.003, 0.01, 0.05, 0.2, 1.0, 5.0],
    "alpha": [1.0, 2.0, 5.0, 10.0, 40.0, 100.0],
}
ROUNDS, ITERATIONS_A_ROUND = 3, 10
LAST = (0, 3)
K1, B = 100, 0.8


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    weighed = weighing(counts(task.training, task.items), settings["weight"])
    shape = {name: settings[name] for name in ("factors", "regularization", "alpha")}
    model = AlternatingLeastSquares(**shape, iterations=ITERATIONS_A_ROUND, num_threads=2, random_state=task.seed)
    matrix = weighed(counts(task.training, task.items))
    for number in range(1, ROUNDS + 1):
        with threadpool_limits(1, "blas"):  # as the library asks
            model.fit(matrix, show_progress=False)
        for last in LAST:
            yield {"iterations": number * ITERATIONS_A_ROUND, "last": last}, scorer(model, weighed, task.items, last)


def scorer(
    model: AlternatingLeastSquares, weighed: Callable[[sparse.csr_matrix], sparse.csr_matrix], items: int, last: int
) -> Scores:
    def scores(histories: Histories) -> np.ndarray:
        matrix = weighed(counts(histories.last(last), items))
        return model.recalculate_user(np.arange(len(histories)), matrix) @ model.item_factors.T

    return scores


def weighing(training: sparse.csr_matrix, weight: str) -> Callable[[sparse.csr_matrix], sparse.csr_matrix]:
    """Returns a function that weighs counts alike in training and in a query.

    `bm25` is the library's `bm25_weight` of items by users, with the training's lengths and number of items.
    """
    bought_n = np.asarray(training.sum(axis=0)).ravel()
    norm_n = (1.0 - B) + B * bought_n / bought_n.mean()

    def weighed(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        matrix = matrix.copy()
        if weight == "bm25":
            idf_Q = np.log(training.shape[1]) - np.log1p(np.diff(matrix.indptr))
            idf_N = np.repeat(idf_Q, np.diff(matrix.indptr))
            matrix.data = matrix.data * (K1 + 1.0) / (K1 * norm_n[matrix.indices] + matrix.data) * idf_N
        elif weight == "log":
            matrix.data = np.log1p(matrix.data)
        elif weight == "once":
            matrix.data[:] = 1.0
        matrix.data = matrix.data.astype(np.float32)
        return matrix

    return weighed


if __name__ == "__main__":
    main(fit, FIRST, CHOICES)
