"""How good ranked answers are, one value a query; a query without targets has none (NaN), it is not a miss.

Each takes lists of item ids, best first, and the items that would have been right. Duplicates among targets count once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence

import numpy as np

Ranked = Sequence[Sequence[Hashable]]
Targets = Sequence[Collection[Hashable]]


def recall_at_k(ranked: Ranked, targets: Targets, k: int) -> np.ndarray:
    """Returns float64 [Q]: hits among the first k, as a share of all targets."""
    return _each(ranked, targets, k, lambda hits, wanted: sum(hits) / wanted)


def hit_rate_at_k(ranked: Ranked, targets: Targets, k: int) -> np.ndarray:
    """Returns float64 [Q]: 1 where any target is among the first k, else 0."""
    return _each(ranked, targets, k, lambda hits, wanted: float(any(hits)))


def mrr_at_k(ranked: Ranked, targets: Targets, k: int) -> np.ndarray:
    """Returns float64 [Q]: 1 / place of the first target among the first k, else 0."""
    return _each(ranked, targets, k, lambda hits, wanted: 1.0 / (hits.index(True) + 1) if True in hits else 0.0)


def ndcg_at_k(ranked: Ranked, targets: Targets, k: int) -> np.ndarray:
    """Returns float64 [Q]: sum of 1 / log2(place + 1) over hits, divided by that of a perfect answer.

    Source: Jarvelin & Kekalainen 2002, with binary gains.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])

    def gain(hits: list[bool], wanted: int) -> float:
        return float(discounts[: len(hits)] @ np.array(hits, np.float64)) / ideal[min(wanted, k)]

    return _each(ranked, targets, k, gain)


METRICS = {"recall": recall_at_k, "mrr": mrr_at_k, "ndcg": ndcg_at_k, "hit_rate": hit_rate_at_k}


def _each(ranked: Ranked, targets: Targets, k: int, value: Callable[[list[bool], int], float]) -> np.ndarray:
    values_Q = np.full(len(targets), np.nan)
    for row, (answer, wanted) in enumerate(zip(ranked, targets, strict=True)):
        if len(wanted):
            right = set(wanted)
            values_Q[row] = value([item in right for item in answer[:k]], len(right))
    return values_Q
