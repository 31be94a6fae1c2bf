"""Implicit BPR (Rendle et al. 2009). A query is the mean of its history's item factors; items keep their bias.

The library's defaults are 100 factors, learning rate 0.01, regularization 0.01.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from implicit.bpr import BayesianPersonalizedRanking
from implicit.recommender_base import ModelFitError
from scipy import sparse

from benchmarks.peers.matrices import counts
from benchmarks.peers.search import Histories, Scores, Settings, Task, main

FIRST = {"factors": 100, "learning_rate": 0.01, "regularization": 0.01}
CHOICES = {
    "factors": [32, 64, 100, 200],
    "learning_rate": [0.005, 0.01, 0.03, 0.1, 0.2],
    "regularization": [0.0003, 0.001, 0.003, 0.01, 0.03],
}
ROUNDS, ITERATIONS_A_ROUND = 5, 50
LAST = (0, 2)


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    model = BayesianPersonalizedRanking(
        **settings, iterations=ITERATIONS_A_ROUND, num_threads=2, random_state=task.seed
    )
    matrix = counts(task.training, task.items)
    for number in range(1, ROUNDS + 1):
        try:
            model.fit(matrix, show_progress=False)
        except ModelFitError:
            # At some of the rates drawn the factors grow without bound.
            return
        for last in LAST:
            for unit in (False, True):
                further = {"iterations": number * ITERATIONS_A_ROUND, "last": last, "unit": unit}
                yield further, scorer(np.array(model.item_factors), last, unit)


def scorer(factors_nF: np.ndarray, last: int, unit: bool) -> Scores:
    """Scores by the dot product with the mean of the last items, or with every vector at unit length and no bias.

    Args:
        factors_nF: item factors, the bias last.
    """
    if unit:
        vectors_nD, bias_n = factors_nF[:, :-1], 0.0
        vectors_nD = vectors_nD / np.maximum(np.linalg.norm(vectors_nD, axis=1, keepdims=True), 1e-9)
    else:
        vectors_nD, bias_n = factors_nF[:, :-1], factors_nF[:, -1]

    def scores(histories: Histories) -> np.ndarray:
        met = counts(histories.last(last), len(vectors_nD))
        share_Q = 1.0 / np.maximum(np.asarray(met.sum(axis=1)).ravel(), 1.0)
        return (sparse.diags(share_Q) @ met @ vectors_nD) @ vectors_nD.T + bias_n

    return scores


if __name__ == "__main__":
    main(fit, FIRST, CHOICES)
