"""Finds how much words that stand in a title count beside likeness (`model.lexical`).

Shapes: Q searches, n items, C items that may be answered for one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.model.features import Query
from pipeline.model.lexical import Lexical, Postings, greatest
from pipeline.model.metrics import recall_at_k
from pipeline.train.validation import Validation, VectorRanker

WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
MOST_SEARCHES = 1000
QUERIES_PER_BLOCK = 64


def fitted_lexical(ranker: VectorRanker, validation: Validation, postings: Postings) -> Lexical:
    """Returns the weight under which most of validation's searches is found, the least of those that find as much.

    0 where nobody searched.
    """
    asked = [
        (query, wanted)
        for query, wanted in zip(validation.queries, validation.targets, strict=True)
        if wanted and query.text
    ]
    asked = [asked[place] for place in np.linspace(0, len(asked) - 1, min(len(asked), MOST_SEARCHES)).astype(int)]
    if not asked:
        return Lexical(postings)
    queries, targets = zip(*asked, strict=True)
    blocks = (queries[begin : begin + QUERIES_PER_BLOCK] for begin in range(0, len(queries), QUERIES_PER_BLOCK))
    found_Q = [candidates for block in blocks for candidates in _candidates(ranker, block, postings)]

    def recall(weight: float) -> float:
        best = (np.argsort(-(like_C + weight * match_C))[: validation.k] for _, like_C, match_C in found_Q)
        ranked = [ranker.item_ids[rows_C[order]] for (rows_C, *_), order in zip(found_Q, best, strict=True)]
        return float(np.mean(recall_at_k(ranked, targets, validation.k)))

    return Lexical(postings, max(WEIGHTS, key=recall))


def _candidates(
    ranker: VectorRanker, queries: Sequence[Query], postings: Postings
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns for each search the rows of items near in either way [C], the dot product and the BM25 of each."""
    found = []
    for query, likeness_n in zip(queries, ranker.scores(queries), strict=True):
        matches_n = np.zeros_like(likeness_n)
        rows_M, scores_M = postings.match(query.text)
        matches_n[rows_M] = scores_M
        rows_C = np.union1d(greatest(likeness_n), rows_M[greatest(scores_M)])
        found.append((rows_C, likeness_n[rows_C], matches_n[rows_C]))
    return found
