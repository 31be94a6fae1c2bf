"""Item-KNN.

Shapes: n items, S sequences, Q queries.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.model.baselines.interactions import Interactions
from pipeline.model.baselines.ranking import Baseline, Histories

NEIGHBOURS = 100
ITEMS_A_SEQUENCE = 50
"""A sequence costs the square of its items, and whoever met everything tells little."""
ITEMS_PER_BLOCK = 2048


class ItemKnn(Baseline):
    """Items met by the same people as those in the history: the sum of cosines between items' sets of sequences.

    Source: Sarwar et al. 2001, section 3.1, on binary interactions, keeping each item's nearest neighbours; of long
    sequences the last `ITEMS_A_SEQUENCE` items, as Schelter, Boden & Markl 2012 cut them.
    """

    title = "item-KNN"

    def __init__(self, log: Interactions, neighbours: int = NEIGHBOURS) -> None:
        super().__init__(log, log.people_n)
        self.similarity_nn = _cosine_neighbours(log, neighbours)

    def scores(self, histories: Histories) -> Any:
        return histories.matrix(np.ones(len(histories.item_H), np.float32)) @ self.similarity_nn


def _cosine_neighbours(log: Interactions, neighbours: int) -> Any:
    met_Sn = log.last_met_Sn(ITEMS_A_SEQUENCE)
    unit_Sn = met_Sn * (1.0 / np.sqrt(np.maximum(met_Sn.sum(axis=0), 1.0))).astype(np.float32)
    unit_nS = unit_Sn.T.tocsr()
    blocks = []
    for begin in range(0, unit_nS.shape[0], ITEMS_PER_BLOCK):
        cosine = unit_nS[begin : begin + ITEMS_PER_BLOCK] @ unit_Sn
        cosine.setdiag(0.0, k=begin)
        cosine.sort_indices()
        blocks.append(_nearest(cosine, neighbours))
    return sparse.vstack(blocks, format="csr")


def _nearest(cosine_bn: Any, neighbours: int) -> Any:
    """Keeps the largest entries of each row; of equal ones those of the lower index."""
    kept = np.zeros(len(cosine_bn.data), bool)
    for begin, end in pairwise(cosine_bn.indptr.tolist()):
        row = cosine_bn.data[begin:end]
        least = np.partition(row, -neighbours)[-neighbours] if len(row) > neighbours else 0.0
        above = row > max(least, 0.0)
        level = np.flatnonzero((row == least) & (row > 0))[: neighbours - above.sum()]
        kept[begin:end] = above
        kept[begin + level] = True
    row_of = np.repeat(np.arange(cosine_bn.shape[0]), np.diff(cosine_bn.indptr))
    return sparse.csr_array((cosine_bn.data[kept], (row_of[kept], cosine_bn.indices[kept])), shape=cosine_bn.shape)
