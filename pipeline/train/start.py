"""Where item vectors start: items met close together lie near each other before the first step is made.

Counts how often two items were met within a few moments of each other, takes how much more often than by chance that
is (pointwise mutual information, what chance alone explains left out) and factorises it. Training by examples then
begins where skip-gram training would end, and has the fine differences left to learn.

Source: Levy & Goldberg 2014, sections 3 and 5; contexts smoothed as in Levy, Goldberg & Dagan 2015, section 3.2.

Shapes: n items, N events, D dim.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from pipeline.train.prepared import Prepared

MOST_EVENTS_APART = 50
"""Of a great basket each item is paired with so many of those beside it."""
SMOOTHING = 0.75
LEAST_LIFT = 0.5
"""Pairs met less than half as often as by chance say nothing."""
LENGTH = 0.8
DENSE_ITEMS = 512
BLOCK = 1 << 22


def start_vectors(prepared: Prepared, dim: int, moments_apart: int, weights_N: np.ndarray) -> np.ndarray:
    """Returns float32 [n + 1, D]: a vector of length `LENGTH` for each item met together with another, else zeros.

    Args:
        moments_apart: how far apart two events of one sequence may lie to count; events of one moment lie 1 apart,
            and a pair counts 1 / distance.
        weights_N: float32, how much each event counts.
    """
    together_nn = met_together(prepared, moments_apart, weights_N)
    vectors_nD = _factors(_lift(together_nn), dim)
    lengths_n1 = np.linalg.norm(vectors_nD, axis=1, keepdims=True)
    known_n1 = lengths_n1 > 1e-6
    return np.where(known_n1, vectors_nD / np.where(known_n1, lengths_n1, 1.0) * LENGTH, 0.0).astype(np.float32)


def vectors_beside(
    prepared: Prepared, rows_n1D: np.ndarray, known_n1: np.ndarray, moments_apart: int, weights_N: np.ndarray
) -> np.ndarray:
    """Returns float32 [n + 1, D]: the rows given, those of unknown items moved to where the known ones they were met
    with lie, as far out as those; an item met with none stays.

    Args:
        known_n1: bool [n + 1], which rows were learnt.
        moments_apart, weights_N: as for `start_vectors`.
    """
    lift_nn = _lift(met_together(prepared, moments_apart, weights_N))
    found_n1D = lift_nn[:, known_n1] @ rows_n1D[known_n1]
    length_n1 = np.linalg.norm(found_n1D, axis=1, keepdims=True)
    usual = np.linalg.norm(rows_n1D[known_n1], axis=1).mean() if known_n1.any() else 0.0
    moved_n1 = ~known_n1[:, np.newaxis] & (length_n1 > 1e-6)
    return np.where(moved_n1, found_n1D / np.where(moved_n1, length_n1, 1.0) * usual, rows_n1D).astype(np.float32)


def met_together(prepared: Prepared, moments_apart: int, weights_N: np.ndarray) -> sparse.csr_array:
    """Returns float64 [n + 1, n + 1], symmetric, diagonal 0: how much each pair of items was met together."""
    size = len(prepared.items) + 1
    items_N, starts_N = prepared.items_N, np.repeat(prepared.offsets_S1[:-1], np.diff(prepared.offsets_S1))
    places_N = np.arange(len(items_N))
    fresh_N = np.diff(prepared.times_N, prepend=prepared.times_N[:1]) != 0
    moment_N = np.cumsum(fresh_N | (places_N == starts_N), dtype=np.int64)
    total = sparse.csr_array((size, size))
    for begin in range(0, len(items_N), BLOCK):
        for lag in range(1, MOST_EVENTS_APART + 1):
            later = places_N[max(begin, lag) : begin + BLOCK]
            later = later[later - lag >= starts_N[later]]
            apart = np.maximum(1, moment_N[later] - moment_N[later - lag])
            near = (apart <= moments_apart) & (items_N[later] != items_N[later - lag])
            if not (apart <= moments_apart).any():
                break
            later, apart = later[near], apart[near]
            pair = (weights_N[later] / apart, (items_N[later], items_N[later - lag]))
            total = total + sparse.coo_array(pair, shape=(size, size)).tocsr()
    return total + total.T


def _lift(together_nn: sparse.csr_array) -> sparse.csr_array:
    """Returns the positive part of log(observed / expected / `LEAST_LIFT`), made symmetric."""
    met_n = np.asarray(together_nn.sum(axis=1)).ravel()
    smoothed_n = met_n**SMOOTHING
    pairs = together_nn.tocoo()
    expected = met_n[pairs.row] * smoothed_n[pairs.col] / max(smoothed_n.sum(), 1e-12)
    lift = np.maximum(np.log(pairs.data / expected / LEAST_LIFT), 0.0)
    found = sparse.coo_array((lift, (pairs.row, pairs.col)), shape=together_nn.shape).tocsr()
    return (found + found.T) * 0.5


def _factors(lift_nn: Any, dim: int) -> np.ndarray:
    """Returns float64 [n, D] whose dot products come nearest to the matrix: its greatest positive eigenpairs."""
    size = lift_nn.shape[0]
    if size <= max(DENSE_ITEMS, 2 * dim):
        values, vectors = np.linalg.eigh(lift_nn.toarray())
        values, vectors = values[-dim:], vectors[:, -dim:]
    else:
        values, vectors = sparse.linalg.eigsh(lift_nn, k=dim, which="LA", v0=np.ones(size), tol=1e-3)
    factors = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.pad(factors, ((0, 0), (0, dim - factors.shape[1])))
