"""Vectors of any number that lie as those of a trained catalogue do.

Held against a catalogue trained at the defaults on the generated shop (2,139 items, 128 numbers): there an item's
nearest lies at an inner product of .83, its twentieth at .61, any two at .01 with a standard deviation of .13, and the
variance falls slowly along the principal axes. Here, 100,000 items of 64 numbers: .87, .80, .00, .15.

Shapes: n items, D dim, Q queries, K answers.
"""

from __future__ import annotations

import numpy as np

ITEMS_IN_A_CLUSTER, CLUSTERS_IN_A_DEPARTMENT = 60, 30
DEPARTMENT, WITHIN = 0.45, 0.55
"""Standard deviations beside that of clusters in their department."""
DECAY = 0.25
"""The standard deviation along axis i is i to the power of minus this."""
HISTORY = (1.3, 0.18, 0.12, 0.09, 0.06)
"""A query reads its newest item above all, and a little of others from anywhere."""
NOISE = 0.05
BLOCK = 100


def made_vectors(items: int, dim: int, seed: int = 5) -> np.ndarray:
    """Returns float32 [n, D] of unit length, in clusters of departments, of unequal sizes."""
    draw = np.random.default_rng(seed)
    spread_D = (1 + np.arange(dim, dtype=np.float32)) ** -DECAY
    turned_DD = np.linalg.qr(draw.normal(size=(dim, dim)))[0].astype(np.float32)

    def around(count: int) -> np.ndarray:
        return draw.standard_normal((count, dim), dtype=np.float32) * spread_D

    count = items // ITEMS_IN_A_CLUSTER + 1
    departments = around(count // CLUSTERS_IN_A_DEPARTMENT + 1)
    clusters = DEPARTMENT * departments[draw.integers(0, len(departments), count)] + around(count)
    sizes = draw.pareto(2, count) + 0.3
    return _unit((clusters[draw.choice(count, items, p=sizes / sizes.sum())] + WITHIN * around(items)) @ turned_DD)


def made_queries(vectors_nD: np.ndarray, queries: int, seed: int) -> np.ndarray:
    """Returns float32 [Q, D] of unit length."""
    draw = np.random.default_rng(seed)
    met_QLD = vectors_nD[draw.integers(0, len(vectors_nD), (queries, len(HISTORY)))]
    noise_QD = NOISE * draw.standard_normal((queries, vectors_nD.shape[1]), dtype=np.float32)
    return _unit(np.einsum("qld,l->qd", met_QLD, np.array(HISTORY, np.float32)) + noise_QD)


def exact(vectors_nD: np.ndarray, queries_QD: np.ndarray, k: int) -> np.ndarray:
    """Returns int64 [Q, K], the rows of the greatest inner products, in no order."""
    blocks = (queries_QD[at : at + BLOCK] @ vectors_nD.T for at in range(0, len(queries_QD), BLOCK))
    return np.concatenate([np.argpartition(-scores, k, axis=1)[:, :k] for scores in blocks])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
