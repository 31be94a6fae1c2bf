"""Session-KNN.

Shapes: n items, S sequences, Q queries, H items of their histories, C candidate neighbours of all queries.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from pipeline.model.baselines.interactions import Interactions
from pipeline.model.baselines.ranking import Baseline, Histories

NEIGHBOURS = 500
RECENT = 1000
LAST_ITEMS = 50
"""Fewer than the bits of a float64's fraction: see `_candidates`."""


class SessionKnn(Baseline):
    """What people met who lately met what the query met last (VS-KNN).

    A query's l items weigh (l + 1 - step) / l. Of the most recent sequences that hold one of them, those whose items
    weigh most together are its neighbours; a neighbour counts its weight times 1 / step of the newest item shared, and
    gives that, times 1 + log(sequences / sequences with the item), to each of its items. A sequence is all that one
    person met, not one visit.

    Source: Ludewig & Jannach 2018, section 3.2.3, with 1 / step and idf as in their published code; an index of the
    most recent sequences of each item as in Kersbergen, Sprangers & Schelter 2022, section 4.
    """

    title = "session-KNN"

    def __init__(self, log: Interactions, neighbours: int = NEIGHBOURS, recent: int = RECENT) -> None:
        super().__init__(log, log.people_n)
        self._neighbours, self._recent = neighbours, recent
        ends_S = log.times_N[log.offsets_S1[1:] - 1]
        # From here on a greater number is a more recent sequence.
        self._met_Sn = log.met_Sn[np.argsort(ends_S, kind="stable")]
        self._index_nS = _newest(self._met_Sn.T.tocsr(), recent)
        self._weight_n = 1.0 + np.log(len(ends_S) / np.maximum(log.people_n, 1))

    def scores(self, histories: Histories) -> Any:
        scores_Qn = self._neighbours_of(histories) @ self._met_Sn
        scores_Qn.data *= self._weight_n[scores_Qn.indices]
        return scores_Qn

    def _neighbours_of(self, histories: Histories) -> Any:
        """Returns float64 sparse [Q, S], what each neighbour counts."""
        similarity_QS, step_C = self._candidates(histories)
        kept_C = np.zeros(len(step_C), bool)
        for begin, end in pairwise(similarity_QS.indptr.tolist()):
            nearest = _nearest(similarity_QS.indices[begin:end], similarity_QS.data[begin:end], self._recent)
            kept_C[begin + nearest[: self._neighbours]] = True
        query_C = np.repeat(np.arange(histories.queries), np.diff(similarity_QS.indptr))
        counted = similarity_QS.data[kept_C] / step_C[kept_C]
        places = (query_C[kept_C], similarity_QS.indices[kept_C])
        return sparse.csr_array((counted, places), shape=similarity_QS.shape)

    def _candidates(self, histories: Histories) -> tuple[Any, np.ndarray]:
        """Returns the summed weights of the items each sequence shares, sparse [Q, S], and the newest one's step [C].

        Steps of a query differ, so the sum of 2 ** -step has its highest bit at the least of them.
        """
        last_H, step_H = histories.step_H <= LAST_ITEMS, histories.step_H
        lengths_Q = np.bincount(histories.query_H[last_H], minlength=histories.queries)
        length_H = lengths_Q[histories.query_H]
        weights_Qn = histories.matrix(np.where(last_H, (length_H + 1 - step_H) / length_H, 0.0))
        bits_Qn = histories.matrix(np.where(last_H, 0.5 ** np.minimum(step_H, LAST_ITEMS), 0.0))
        for matrix in (weights_Qn, bits_Qn):
            matrix.eliminate_zeros()
        _, exponent_C = np.frexp((bits_Qn @ self._index_nS).data)
        return weights_Qn @ self._index_nS, 1 - exponent_C


def _nearest(sequences: np.ndarray, similarity: np.ndarray, recent: int) -> np.ndarray:
    """Returns the places of the most recent sequences, nearest first; of equally near ones the more recent first."""
    places = np.arange(len(sequences))
    if len(sequences) > recent:
        places = np.argpartition(sequences, -recent)[-recent:]
    # Sums of the same numbers in another order must stay equal.
    return places[np.lexsort((-sequences[places], -similarity[places].astype(np.float32)))]


def _newest(met_nS: Any, most: int) -> Any:
    """Keeps the greatest so many columns of each row."""
    met_nS.sort_indices()
    row_of = np.repeat(np.arange(met_nS.shape[0]), np.diff(met_nS.indptr))
    kept = met_nS.indptr[1:][row_of] - np.arange(len(row_of)) <= most
    return sparse.csr_array((met_nS.data[kept].astype(np.float64), (row_of[kept], met_nS.indices[kept])), met_nS.shape)
