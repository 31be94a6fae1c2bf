"""Training sequences, their targets, and the vocabulary, from what was known before validation began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.prepare.evidence import Evidence

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Training:
    """The training set, as the contract names its files.

    Attributes:
        vocabulary: int64 [items], the log's item code of index 1, 2, …; most events first, then by name.
        events: int64 [items], training events of each.
        probability: float64 [items], share of training targets.
        items: int32 [N]. types: uint8 [N]. times: int64 [N], unix seconds. offsets: int64 [S + 1].
        targets: int64 [T], positions in the flat arrays.
        target_queries: int32 [T], index in `queries`, or -1.
        queries: texts, sorted.
    """

    vocabulary: np.ndarray
    events: np.ndarray
    probability: np.ndarray
    items: np.ndarray
    types: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    target_queries: np.ndarray
    queries: list[str]


def build_training(evidence: Evidence, validation_start_us: int, min_item_events: int) -> Training:
    """Lays the sequences end to end, one an actor, oldest event first."""
    log = evidence.log
    rows = np.flatnonzero(evidence.in_sequences & evidence.standing(validation_start_us))
    counts = np.bincount(log.item[rows], minlength=len(log.items))
    codes = np.flatnonzero(counts >= min_item_events)
    vocabulary = codes[np.argsort(-counts[codes], kind="stable")]
    index = np.zeros(len(log.items), np.int32)
    index[vocabulary] = np.arange(1, len(vocabulary) + 1, dtype=np.int32)
    rows = rows[index[log.item[rows]] > 0]
    items = index[log.item[rows]]
    targets = np.flatnonzero(evidence.positive[rows])
    target_queries, queries = _queries_answered(evidence, rows[targets])
    return Training(
        vocabulary=vocabulary,
        events=counts[vocabulary],
        probability=_shares(items[targets], len(vocabulary)),
        items=items,
        types=log.kind[rows],
        times=log.time_us[rows] // MICROSECONDS,
        offsets=_offsets(log.actor[rows]),
        targets=targets.astype(np.int64),
        target_queries=target_queries,
        queries=queries,
    )


def _shares(target_items: np.ndarray, items: int) -> np.ndarray:
    counts = np.bincount(target_items, minlength=items + 1)[1:]
    return counts / max(counts.sum(), 1)


def _offsets(actors: np.ndarray) -> np.ndarray:
    if not len(actors):
        return np.zeros(1, np.int64)
    begins = np.flatnonzero(np.diff(actors, prepend=-1))
    return np.append(begins, len(actors)).astype(np.int64)


def _queries_answered(evidence: Evidence, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Returns for each row the index of the text it answers, and the texts; codes are in the order of the texts."""
    search = evidence.answers[rows]
    codes = np.where(search >= 0, evidence.log.query[search], -1)
    used = np.unique(codes[codes >= 0])
    index = np.where(codes >= 0, np.searchsorted(used, codes), -1).astype(np.int32)
    return index, evidence.log.queries.take(used).to_pylist()
