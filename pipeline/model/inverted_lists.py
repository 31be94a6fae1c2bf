"""Inverted lists: which few of them are looked at, chosen by measurement, in catalogues too large to look at all.

The lists hold the very codes that a store row by row would, so both answer with the same scores; only what lies in
lists not looked at is missed.

Shapes: n items, D dim, Q queries, K answers.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from pipeline.model.storage import ROWS_PER_CENTROID, evenly

LISTS_PER_ROOT, ROUNDS = 8, 6
"""Lists for each square root of the items, and rounds of k-means. With 200,000 made vectors half as many lists answered
a third fewer queries at a recall of .99, and took half the time to build; ten rounds were no better than six."""


def coarse(vectors_nD: np.ndarray, seed: int) -> Any:
    """Returns the centroids of the lists, learned by spherical k-means from a sample.

    Source: Sivic & Zisserman 2003; Jégou et al. 2011, section IV.
    """
    rows, dim = vectors_nD.shape
    lists = min(rows, round(LISTS_PER_ROOT * rows**0.5))
    clustering = faiss.Clustering(dim, lists)
    clustering.niter, clustering.seed, clustering.spherical = ROUNDS, seed, True
    clustering.min_points_per_centroid = 1
    quantizer = faiss.IndexFlatIP(dim)
    clustering.train(evenly(vectors_nD, lists * ROWS_PER_CENTROID), quantizer)
    return quantizer


def lists_of(index: Any) -> Any:
    """Returns the lists, whether or not a rotation lies before them; None where vectors lie row by row."""
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    return inner if isinstance(inner, faiss.IndexIVF) else None


def settle(index: Any, probes_QD: np.ndarray, k: int, recall: float) -> float:
    """Sets the fewest lists that find the share asked for of what all of them hold.

    Returns: the share they find.
    """
    lists = lists_of(index)
    lists.nprobe = lists.nlist
    _, whole_QK = index.search(probes_QD, k)

    def found(nprobe: int) -> float:
        lists.nprobe = nprobe
        return shared(whole_QK, index.search(probes_QD, k)[1])

    low, high = 0, 1
    while high < lists.nlist and found(high) < recall:
        low, high = high, min(2 * high, lists.nlist)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= recall else (middle, high)
    return found(high)


def shared(whole_QK: np.ndarray, found_QK: np.ndarray) -> float:
    """Returns the mean share of the rows of one that are in the other."""
    pairs = zip(whole_QK, found_QK, strict=True)
    return float(np.mean([len(np.intersect1d(whole_K, found_K)) for whole_K, found_K in pairs]) / whole_QK.shape[1])
