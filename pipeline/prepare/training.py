"""Training sequences and their targets, from what was known before validation began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.prepare.arrays import blocks, new_array
from pipeline.prepare.evidence import Evidence
from pipeline.prepare.log import NEVER, Log
from pipeline.prepare.vocabulary import Vocabulary

MICROSECONDS = 1_000_000
MICROSECONDS_A_DAY = 86_400 * MICROSECONDS


@dataclass(frozen=True)
class Tally:
    """What training holds of each item, by the log's code: int64 [items of the log].

    Attributes:
        events: all of them. targets: those that are views, carts or purchases. recent: those not too old to count as
            remembered. first_us: when the first was, or `NEVER`.
    """

    events: np.ndarray
    targets: np.ndarray
    recent: np.ndarray
    first_us: np.ndarray


@dataclass(frozen=True)
class Training:
    """The training set, as the contract names its files; the long arrays are those files.

    Attributes:
        events: int64 [items], training events of each. age_days: int32 [items], whole days from its first to the end;
            0 where there is none.
        probability: float64 [items], share of training targets.
        items: int32 [N]. types: uint8 [N]. times: int64 [N], unix seconds. contexts: int32 [N], place in
            `context_texts`, or -1. offsets: int64 [S + 1].
        targets: int64 [T], positions in the flat arrays.
        target_queries: int32 [T], index in `queries`, or -1.
        target_searched: int64 [T], place in the flat arrays of the first event after the search, or -1.
        queries, context_texts: texts, sorted.
    """

    vocabulary: Vocabulary
    events: np.ndarray
    age_days: np.ndarray
    probability: np.ndarray
    items: np.ndarray
    types: np.ndarray
    times: np.ndarray
    contexts: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    target_queries: np.ndarray
    target_searched: np.ndarray
    queries: list[str]
    context_texts: list[str]


def tally(evidence: Evidence, end_us: int, remembered_from_us: int) -> Tally:
    """Counts the events of each item before the end."""
    log, size = evidence.log, len(evidence.log.items)
    counted = Tally(*(np.zeros(size, np.int64) for _ in range(3)), np.full(size, NEVER))
    for rows in _training_rows(evidence, end_us):
        items = log.item[rows]
        counted.events[:] += np.bincount(items, minlength=size)
        counted.targets[:] += np.bincount(items[evidence.positive(rows)], minlength=size)
        counted.recent[:] += np.bincount(items[log.time_us[rows] >= remembered_from_us], minlength=size)
        np.minimum.at(counted.first_us, items, log.time_us[rows])
    return counted


def build_training(evidence: Evidence, end_us: int, vocabulary: Vocabulary, counted: Tally, folder: Path) -> Training:
    """Lays the sequences end to end, one an actor, oldest event first, in arrays that are files in `folder`."""
    events, target_counts = (vocabulary.of_each(counts, 0) for counts in (counted.events, counted.targets))
    length, targets = int(events.sum()), int(target_counts.sum())
    made = Training(
        vocabulary,
        events,
        ((end_us - vocabulary.of_each(counted.first_us, end_us)) // MICROSECONDS_A_DAY).astype(np.int32),
        target_counts / max(targets, 1),
        new_array(folder / "sequence_items.npy", np.int32, length),
        new_array(folder / "sequence_types.npy", np.uint8, length),
        new_array(folder / "sequence_times.npy", np.int64, length),
        new_array(folder / "sequence_contexts.npy", np.int32, length),
        np.zeros(1, np.int64),
        new_array(folder / "targets.npy", np.int64, targets),
        new_array(folder / "target_queries.npy", np.int32, targets),
        new_array(folder / "target_searched.npy", np.int64, targets),
        [],
        [],
    )
    offsets = _fill(made, evidence, end_us)
    queries = _number_used(made.target_queries, evidence.log.queries)
    context_texts = _number_used(made.contexts, evidence.log.contexts)
    np.save(folder / "sequence_offsets.npy", offsets, allow_pickle=False)
    return Training(**{**vars(made), "offsets": offsets, "queries": queries, "context_texts": context_texts})


def _training_rows(evidence: Evidence, end_us: int) -> Iterator[np.ndarray]:
    for block in blocks(len(evidence.log)):
        yield block.start + np.flatnonzero(evidence.in_sequences(block) & evidence.standing(block, end_us))


def target_rows(evidence: Evidence, end_us: int, index: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows of the training targets, in their order.

    Args: index: int32, the vocabulary's index of each of the log's items, 0 for those it lacks.
    """
    for found in _training_rows(evidence, end_us):
        yield found[(index[evidence.log.item[found]] > 0) & evidence.positive(found)]


def _fill(made: Training, evidence: Evidence, end_us: int) -> np.ndarray:
    """Writes all arrays, queries and contexts as the log's codes, and returns the offsets."""
    log, index = evidence.log, made.vocabulary.indices(len(evidence.log.items))
    begins, at, target_at, last_actor = [], 0, 0, -1
    known, known_at = np.zeros(0, np.int64), 0  # rows of whoever is parted by the end of a block, where the first went
    for found in _training_rows(evidence, end_us):
        rows = found[index[log.item[found]] > 0]
        here = slice(at, at + len(rows))
        made.items[here], made.types[here] = index[log.item[rows]], log.kind[rows]
        made.times[here], made.contexts[here] = log.time_us[rows] // MICROSECONDS, log.context[rows]
        positive = np.flatnonzero(evidence.positive(rows))
        there = slice(target_at, target_at + len(positive))
        search = evidence.answers[rows[positive]]
        made.targets[there] = at + positive
        made.target_queries[there] = np.where(search >= 0, log.query[search], -1)
        known = np.concatenate([known, rows])
        first = _first_after(log, search, rows[positive])
        made.target_searched[there] = np.where(search >= 0, known_at + np.searchsorted(known, first), -1)
        actors = log.actor[rows]
        begins.append(at + np.flatnonzero(np.diff(actors, prepend=last_actor)))
        at, target_at, last_actor = here.stop, there.stop, int(actors[-1]) if len(actors) else last_actor
        known = known[log.actor[known] == last_actor]
        known_at = at - len(known)
    return np.concatenate([*begins, [at]]) if at else np.zeros(1, np.int64)


def _first_after(log: Log, search: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the row from which on the events of each row's own actor came after the search, -1 where there is none.

    The search itself, unless it was made before whoever searched logged in.
    """
    first = search.copy()
    for place in np.flatnonzero((search >= 0) & (log.actor[search] != log.actor[rows])):
        begin, end = log.offsets[log.actor[rows[place]] :][:2]
        first[place] = begin + np.searchsorted(log.time_us[begin:end], log.time_us[search[place]])
    return first


def _number_used(codes: np.ndarray, names: Any) -> list[str]:
    """Replaces the log's codes by places among the texts used, and returns those; both are in the order of texts."""
    used = np.zeros(len(names), bool)
    for block in blocks(len(codes)):
        used[codes[block][codes[block] >= 0]] = True
    place = np.append(np.cumsum(used, dtype=np.int32) - 1, np.int32(-1))
    for block in blocks(len(codes)):
        codes[block] = place[codes[block]]
    return names.take(np.flatnonzero(used)).to_pylist()
