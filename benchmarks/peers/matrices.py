"""Histories as sparse matrices, for the peers that forget their order."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from benchmarks.peers.search import Histories


def counts(histories: Histories, items: int) -> sparse.csr_matrix:
    """Returns float32 [Q, n]: how often each item stands in each history."""
    ones = np.ones(len(histories.items), np.float32)
    matrix = sparse.csr_matrix((ones, (histories.row_of, histories.items)), shape=(len(histories), items))
    matrix.sum_duplicates()
    return matrix
