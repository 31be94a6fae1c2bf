"""Implicit's item-KNN: the sum of the similarities of each item to those of the history.

The library offers cosine, TF-IDF and BM25, and 20 neighbours by default.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

from benchmarks.peers.matrices import counts
from benchmarks.peers.search import Histories, Scores, Settings, Task, main

KINDS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
FIRST = {"kind": "tfidf", "neighbours": 20, "by": "sequence", "once": False, "k1": 1.2, "b": 0.75}
CHOICES = {
    "kind": ["cosine", "tfidf", "bm25"],
    "neighbours": [10, 20, 50, 100, 200, 500, 1000],
    "by": ["sequence", "visit"],
    "once": [False, True],
    "k1": [0.3, 1.2, 10.0, 100.0],
    "b": [0.1, 0.4, 0.75, 1.0],
}
LAST = (0, 1, 2, 5, 20)


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    form = {"K1": settings["k1"], "B": settings["b"]} if settings["kind"] == "bm25" else {}
    model = KINDS[settings["kind"]](K=settings["neighbours"], num_threads=2, **form)
    matrix = counts(task.training.visits() if settings["by"] == "visit" else task.training, task.items)
    if settings["once"]:
        matrix.data[:] = 1.0
    model.fit(matrix, show_progress=False)
    for last in LAST:

        def scores(histories: Histories, last: int = last) -> np.ndarray:
            met = counts(histories.last(last), task.items)
            if settings["once"]:
                met.data[:] = 1.0
            return (met @ model.similarity).toarray()

        yield {"last": last}, scores


if __name__ == "__main__":
    main(fit, FIRST, CHOICES)
