"""How good ranked answers are, one value a query; a query without targets has none (NaN), it is not a miss.

Most take lists of item ids, best first, and the items that would have been right. Duplicates among targets count once.
Some ask what is answered, right or not: how much of the catalogue, how popular, and how like another's answers.

Shapes: Q queries, n items, P pairs of a query and one of its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

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


def found_at_k(ranked: Ranked, targets: Targets, k: int) -> np.ndarray:
    """Returns float64 [P]: 1 for each target, query after query, that is among its query's first k, else 0."""
    pairs = zip(ranked, targets, strict=True)
    return np.array([item in best for answer, wanted in pairs for best in [set(answer[:k])] for item in wanted], float)


def coverage_at_k(ranked: Ranked, k: int, items: int) -> float:
    """Returns the share of the catalogue's items that is among the first k of any answer.

    Source: Ge, Delgado-Battenfeld & Jannach 2010, catalog coverage.
    """
    return len({item for answer in ranked for item in answer[:k]}) / items


def popularity_percentiles(events_n: np.ndarray) -> np.ndarray:
    """Returns float64 [n]: the share of the other items that have fewer events, equal ones counting half.

    1 is the one most popular item, 0 the one least popular; over the catalogue the mean is .5.
    """
    _, level_n, counts = np.unique(events_n, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts + (counts - 1) / 2
    return below[level_n] / max(len(events_n) - 1, 1)


def popularity_at_k(ranked: Ranked, percentiles: Mapping[Hashable, float], k: int) -> np.ndarray:
    """Returns float64 [Q]: the mean percentile of the first k items; NaN where nothing is answered.

    Source: Yin et al. 2012 (average popularity of what is recommended), with percentiles in place of counts.
    """
    means = [[percentiles[item] for item in answer[:k]] for answer in ranked]
    return np.array([np.mean(found) if found else np.nan for found in means], np.float64)


def share_at_k(ranked: Ranked, holds: Callable[[Hashable], bool], k: int) -> np.ndarray:
    """Returns float64 [Q]: the share of the first k items something holds of; NaN where nothing is answered."""
    return np.array([np.mean([holds(item) for item in answer[:k]]) if answer else np.nan for answer in ranked], float)


def overlap_at_k(ranked: Ranked, others: Ranked, k: int) -> np.ndarray:
    """Returns float64 [Q]: items both have among their first k, as a share of the longer answer; NaN where none is.

    Source: Webber, Moffat & Zobel 2010, overlap at a depth.
    """
    pairs = [(set(answer[:k]), set(other[:k])) for answer, other in zip(ranked, others, strict=True)]
    longest = [max(len(one), len(two)) for one, two in pairs]
    return np.array([len(one & two) / n if n else np.nan for (one, two), n in zip(pairs, longest, strict=True)], float)


def _each(ranked: Ranked, targets: Targets, k: int, value: Callable[[list[bool], int], float]) -> np.ndarray:
    values_Q = np.full(len(targets), np.nan)
    for row, (answer, wanted) in enumerate(zip(ranked, targets, strict=True)):
        if len(wanted):
            right = set(wanted)
            values_Q[row] = value([item in right for item in answer[:k]], len(right))
    return values_Q
