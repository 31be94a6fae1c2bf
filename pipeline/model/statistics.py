"""Intervals by a bootstrap over users, the margin a test can detect, and Holm's correction. Needs numpy alone.

Queries of one user resemble each other, so users, not queries, are drawn with replacement (cluster bootstrap). With
s_u and n_u the sum and number of user u's values, one resample's mean is sum(s_u) / sum(n_u) over the drawn users.
Source: Efron & Tibshirani 1993, chapters 6 and 13; Field & Welsh 2007 for clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from pipeline.core.errors import DataError, ShapeError

CELLS_PER_BLOCK = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A mean with a two-sided interval.

    Attributes:
        mean: of all values, every value weighing the same.
        low: lower end, a quantile of the resampled means.
        high: upper end.
        se: standard error: the standard deviation of the resampled means.
        n: how many values it rests on.
    """

    mean: float
    low: float
    high: float
    se: float
    n: int


def interval(
    values: Any, users: Sequence[Any] | None = None, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Returns the mean of values with its percentile interval from a bootstrap by user.

    Args:
        values: float [n], one a query.
        users: [n], whose query it is; each query is its own user when left out.
        samples: number of resamples.
        confidence: two-sided, such as 0.95.

    Raises:
        DataError: no values, or one that is NaN or infinite.
        ShapeError: as many users as values were expected.
    """
    values_Q = _finite(values)
    sums_U, counts_U = _by_user(values_Q, users)
    means_S = resampled_means(sums_U, counts_U, samples, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_S, [tail, 1 - tail])
    return Interval(float(values_Q.mean()), float(low), float(high), float(means_S.std(ddof=1)), len(values_Q))


def paired_interval(
    challenger: Any,
    champion: Any,
    users: Sequence[Any] | None = None,
    samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Returns challenger minus champion, query by query: what both find easy or hard cancels out.

    Args:
        challenger: float [n]; champion: float [n], the same queries in the same order.

    Raises: DataError, ShapeError: as `interval`.
    """
    ours_Q, theirs_Q = _finite(challenger), _finite(champion)
    if len(ours_Q) != len(theirs_Q):
        raise ShapeError(
            f"The challenger was measured on {len(ours_Q)} queries and the champion on {len(theirs_Q)}; "
            "a paired comparison needs the same queries in the same order."
        )
    return interval(ours_Q - theirs_Q, users, samples, confidence, seed)


def intervals(
    values_QC: np.ndarray, users: Sequence[Any], samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Returns the `interval` of each column; one draw of users serves all.

    Args: values_QC: float [Q, C], NaN where a query is not of a column; an empty column has a mean of NaN and n = 0.
    """
    owner_Q, known_QC = _owners(users), np.isfinite(values_QC)
    size = int(owner_Q.max(initial=-1)) + 1
    sums_UC, counts_UC = np.zeros((2, size, values_QC.shape[1]))
    np.add.at(sums_UC, owner_Q, np.where(known_QC, values_QC, 0.0))
    np.add.at(counts_UC, owner_Q, known_QC)
    generator, means = np.random.default_rng(seed), []
    for begin in range(0, samples, rows := max(1, CELLS_PER_BLOCK // size)):
        drawn_SU = generator.multinomial(size, np.full(size, 1 / size), min(rows, samples - begin)).astype(np.float64)
        counts_SC = drawn_SU @ counts_UC
        means.append(np.where(counts_SC > 0, drawn_SU @ sums_UC / np.maximum(counts_SC, 1), np.nan))
    return [
        _of_column(*column, confidence) for column in zip(sums_UC.T, counts_UC.T, np.concatenate(means).T, strict=True)
    ]


def _of_column(sums_U: np.ndarray, counts_U: np.ndarray, means_S: np.ndarray, confidence: float) -> Interval:
    n, means_S = int(counts_U.sum()), means_S[np.isfinite(means_S)]
    if not n:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means_S, [tail, 1 - tail])
    return Interval(float(sums_U.sum() / n), float(low), float(high), float(means_S.std(ddof=1)), n)


def normal_interval(found: Interval, confidence: float) -> Interval:
    """Returns the same mean with an interval of another confidence, from its standard error."""
    half = NormalDist().inv_cdf((1 + confidence) / 2) * found.se
    return replace(found, low=found.mean - half, high=found.mean + half)


def resampled_means(sums_U: np.ndarray, counts_U: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Returns float64 [samples]: the mean of each resample of users, drawn in blocks that fit the cache."""
    generator = np.random.default_rng(seed)
    users = len(sums_U)
    even = bool((counts_U == counts_U[0]).all())
    means = []
    for begin in range(0, samples, rows := max(1, CELLS_PER_BLOCK // users)):
        shape = (min(rows, samples - begin), users)
        drawn_SU = generator.integers(0, users, size=shape, dtype=np.int32)
        weight_S = users * counts_U[0] if even else counts_U[drawn_SU].sum(axis=1)
        means.append(sums_U[drawn_SU].sum(axis=1) / weight_S)
    return np.concatenate(means)


def detectable_margin(se: float, confidence: float, power: float) -> float:
    """Returns the margin an equal challenger is found non-inferior within, with chance `power`.

    The lower end of the two-sided interval must lie above -margin: (z[(1 + confidence) / 2] + z[power]) * se.
    Source: Julious 2004, section 5 (non-inferiority, no true difference).
    """
    if not math.isfinite(se) or se < 0:
        raise DataError(f"The standard error is {se}; a margin can only be derived from a finite one of at least 0.")
    return (NormalDist().inv_cdf((1 + confidence) / 2) + NormalDist().inv_cdf(power)) * se


def queries_needed(n: int, se: float, margin: float, confidence: float, power: float) -> int:
    """Returns how many queries in all a margin needs: the standard error shrinks with the root of their number."""
    if margin <= 0:
        raise DataError(f"The margin is {margin}; no number of queries can show a difference within it.")
    return max(n, math.ceil(n * (detectable_margin(se, confidence, power) / margin) ** 2))


def harm_probability(difference: Interval, allowed: float = 0.0) -> float:
    """Returns the one-sided p-value of "no worse than allowed": the normal chance of so low a difference."""
    if difference.se == 0:
        return 0.0 if difference.mean < -allowed else 1.0
    return NormalDist().cdf((difference.mean + allowed) / difference.se)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Returns Holm's adjusted p-values in the order given; each may be held against the level for all together.

    The i-th smallest of m (i from 0) becomes the largest of (m - j) * p_j over j <= i, at most 1.
    Source: Holm 1979.
    """
    adjusted, largest = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(sorted(range(len(probabilities)), key=lambda i: probabilities[i])):
        largest = max(largest, min(1.0, (len(probabilities) - rank) * probabilities[place]))
        adjusted[place] = largest
    return adjusted


def _finite(values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ShapeError(f"Values of shape {array.shape} were given; one number a query was expected.")
    if not len(array):
        raise DataError("There are no values; a mean needs at least one query.")
    bad = ~np.isfinite(array)
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {len(array)} values are NaN or infinite, the first at position "
            f"{int(bad.argmax())}; a metric must be a finite number for every query."
        )
    return array


def _by_user(values_Q: np.ndarray, users: Sequence[Any] | None) -> tuple[np.ndarray, np.ndarray]:
    if users is None:
        return values_Q, np.ones(len(values_Q))
    if len(users) != len(values_Q):
        raise ShapeError(f"{len(users)} users were given for {len(values_Q)} values; each value needs its user.")
    owner_Q = _owners(users)
    return np.bincount(owner_Q, values_Q), np.bincount(owner_Q).astype(np.float64)


def _owners(users: Sequence[Any]) -> np.ndarray:
    """Returns int64 [Q]: users as numbers from 0, in the order they are first seen."""
    places: dict[Any, int] = {}
    return np.fromiter((places.setdefault(user, len(places)) for user in users), np.int64, len(users))
