"""VS-KNN, vector multiplication session-KNN (Ludewig & Jannach 2018, section 3.2.3; weights as in their session-rec).

Of the sessions that hold an item of the query the most recent `sample` are compared with it: the sum of its items'
weights that both hold, later items weighing more, divided by their number. The `k` most similar vote for their items,
each by its similarity, by how late in the query the latest common item stands, and, with `idf` above 0, by how rare
the item is. Our own code, for the library is no package; the authors' configurations are 100 of 1,000 and 50 to 500 of
500 to 2,500.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from benchmarks.peers.search import Histories, Scores, Settings, Task, main

FIRST = {"k": 100, "sample": 1000, "weight": "div", "vote": "div", "idf": 0, "by": "sequence"}
CHOICES = {
    "k": [50, 100, 200, 500, 1000, 1500],
    "sample": [500, 1000, 2500, 5000, 10_000],
    "weight": ["same", "div", "linear", "log", "quadratic"],
    "vote": ["same", "div", "linear", "log", "quadratic"],
    "idf": [0, 1, 2, 5, 10],
    "by": ["sequence", "visit"],
}
WEIGHTS = {
    "same": lambda place, length: np.ones_like(place),
    "div": lambda place, length: place / length,
    "linear": lambda place, length: np.maximum(1 - 0.1 * (length - place), 0.0),
    "log": lambda place, length: 1 / np.log10(length - place + 1.7),
    "quadratic": lambda place, length: (place / length) ** 2,
}
"""Of a query's item, by its place from 1 and the query's length."""
VOTES = {
    "same": lambda step: np.ones_like(step),
    "div": lambda step: 1 / step,
    "linear": lambda step: np.maximum(1 - 0.1 * step, 0.0),
    "log": lambda step: 1 / np.log10(step + 1.7),
    "quadratic": lambda step: 1 / step**2,
}
"""Of a neighbour, by how many steps from the query's end, from 1, the latest common item stands."""
THREADS = 2
LEAST_VOTE = 1e-12
"""Tells a session that was met from one that was not."""


def fit(task: Task, settings: Settings) -> Iterator[tuple[Settings, Scores]]:
    sessions = task.training.visits() if settings["by"] == "visit" else task.training
    order = np.argsort(sessions.times[sessions.offsets[1:] - 1], kind="stable")
    pairs = np.unique(np.stack([np.argsort(order)[sessions.row_of], sessions.items], 1), axis=0)
    session_offsets = np.searchsorted(pairs[:, 0], np.arange(len(sessions) + 1))
    by_item = pairs[np.lexsort((-pairs[:, 0], pairs[:, 1]))]
    item_offsets = np.searchsorted(by_item[:, 1], np.arange(task.items + 1))
    rarity_n = np.log(len(sessions) / np.maximum(np.diff(item_offsets), 1))
    boost_n = (1 + settings["idf"] * rarity_n) if settings["idf"] else np.ones(task.items)
    index = (pairs[:, 1].astype(np.int32), session_offsets, by_item[:, 0].astype(np.int32), item_offsets)

    def scores(histories: Histories) -> np.ndarray:
        def voted(begin: int) -> np.ndarray:
            asked = _positions(histories[begin : begin + half], settings["weight"], settings["vote"])
            return _votes(*asked, *index, boost_n, settings["k"], settings["sample"])

        half = -(-len(histories) // THREADS)
        with ThreadPoolExecutor(THREADS) as threads:
            return np.concatenate(list(threads.map(voted, range(0, len(histories), half))))

    yield {}, scores


def _positions(histories: Histories, weight: str, vote: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns each history's distinct items, where each list begins, and by its latest place the weight and vote."""
    items, offsets, weights, votes = [], [0], [], []
    for row in histories.rows:
        distinct, back = np.unique(row[::-1], return_index=True)
        items.append(distinct)
        offsets.append(offsets[-1] + len(distinct))
        weights.append(WEIGHTS[weight]((len(row) - back).astype(np.float64), max(len(row), 1)))
        votes.append(VOTES[vote](back + 1.0))
    return np.concatenate(items), np.array(offsets), np.concatenate(weights), np.concatenate(votes)


@numba.njit(cache=True, nogil=True)
def _votes(
    items, offsets, weights, votes, session_items, session_offsets, item_sessions, item_offsets, boost_n, k, sample
):  # type: ignore[no-untyped-def]
    """Sessions are numbered by their end, so that the greatest are the most recent."""
    queries, sessions = len(offsets) - 1, len(session_offsets) - 1
    scores_Qn = np.zeros((queries, len(boost_n)), np.float32)
    similarity_S, vote_S = np.zeros(sessions), np.zeros(sessions)
    for query in range(queries):
        own = slice(offsets[query], offsets[query + 1])
        met = _meet(items[own], weights[own], votes[own], item_sessions, item_offsets, sample, similarity_S, vote_S)
        recent = np.sort(met)[::-1][:sample]
        for place in np.argsort(-similarity_S[recent], kind="mergesort")[:k]:
            session = recent[place]
            for entry in range(session_offsets[session], session_offsets[session + 1]):
                item = session_items[entry]
                scores_Qn[query, item] += similarity_S[session] * vote_S[session] * boost_n[item]
        similarity_S[met] = 0.0
        vote_S[met] = 0.0
    return scores_Qn


@numba.njit(cache=True, nogil=True)
def _meet(items, weights, votes, item_sessions, item_offsets, sample, similarity_S, vote_S):  # type: ignore[no-untyped-def]
    """Fills similarity and vote of the sessions that hold an item, and returns which; both are zeros before."""
    firsts = item_offsets[items]
    ends = np.minimum(item_offsets[items + 1], firsts + sample)
    met, size = np.empty((ends - firsts).sum(), np.int64), 0
    for place in range(len(items)):
        for session in item_sessions[firsts[place] : ends[place]]:
            if vote_S[session] == 0.0:
                met[size] = session
                size += 1
            similarity_S[session] += weights[place] / len(items)
            vote_S[session] = max(vote_S[session], votes[place], LEAST_VOTE)
    return met[:size]


if __name__ == "__main__":
    main(fit, FIRST, CHOICES)
