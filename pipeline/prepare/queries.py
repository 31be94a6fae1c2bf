"""Evaluation queries of one period: what was known at a moment, and what came after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.prepare import arrays
from pipeline.prepare.candidates import Candidates, Period, find_candidates
from pipeline.prepare.evidence import Evidence


@dataclass(frozen=True)
class EvaluationQuery:
    """One query, in codes and rows of the log.

    Attributes:
        text: code of the search's text, or -1.
        history: int64 [length], rows, oldest first.
        targets, new_targets: item codes, in the order they were first met.
        first_target_us: when the earliest target was met.
        asked: row whose context it carries: the search, or the first event that meets a target.
    """

    kind: str
    actor: int
    text: int
    time_us: int
    history: np.ndarray
    targets: np.ndarray
    new_targets: np.ndarray
    first_target_us: int
    asked: int


@dataclass(frozen=True)
class _Rows:
    """Rows of the log by the query they are looked at for; those of one query stand together, in order.

    Attributes:
        rows, query: int64 [rows].
    """

    rows: np.ndarray
    query: np.ndarray

    def where(self, chosen: np.ndarray) -> _Rows:
        return _Rows(self.rows[chosen], self.query[chosen])

    def last(self, most: int, queries: int) -> _Rows:
        """Keeps the last rows of each query."""
        ends = np.cumsum(np.bincount(self.query, minlength=queries))
        return self.where(np.arange(len(self.rows)) >= ends[self.query] - most)

    def items(self, evidence: Evidence) -> np.ndarray:
        """Returns int64 [rows], a number for query and item together."""
        return self.query * len(evidence.log.items) + evidence.log.item[self.rows]


def draw_queries(
    evidence: Evidence, period: Period, events: int, most: int, among: np.ndarray | None = None
) -> list[EvaluationQuery]:
    """Returns at most so many queries of the period, drawn evenly, in the order of time, actor, kind, text.

    Each carries its last `events` events; the query tower reads fewer, the rest are known as seen.

    Args:
        among: int64, ascending: rows that hold all of the period's, where they are known.
    """
    drawn = find_candidates(evidence, period, among).drawn(evidence.log, most).in_order(evidence.log)
    answers = _answers(evidence, period, drawn, among)
    return [
        query for part in _parts(evidence, drawn) for query in _asked(evidence, period, drawn, part, answers, events)
    ]


def _parts(evidence: Evidence, drawn: Candidates) -> Iterator[slice]:
    """Parts the queries so that the rows looked at together are no more than fit, however long people's logs are."""
    lengths = np.diff(evidence.log.offsets)[drawn.actor]
    part = np.cumsum(lengths) // arrays.ROWS_A_BLOCK
    begins = [*np.flatnonzero(np.diff(part, prepend=-1)).tolist(), len(drawn)]
    return (slice(begin, end) for begin, end in pairwise(begins))


def _answers(evidence: Evidence, period: Period, drawn: Candidates, among: np.ndarray | None) -> np.ndarray:
    """Returns the rows that answer the searches drawn, grouped by the search, oldest first."""
    rows = evidence.rows_between(period.start_us, period.end_us, among)
    rows = rows[np.isin(evidence.answers[rows], drawn.search[drawn.search >= 0])]
    rows = rows[evidence.positive(rows) & evidence.standing(rows, period.end_us)]
    return rows[np.lexsort((rows, evidence.log.time_us[rows], evidence.answers[rows]))]


def _asked(
    evidence: Evidence, period: Period, drawn: Candidates, part: slice, answers: np.ndarray, events: int
) -> Iterator[EvaluationQuery]:
    log, actor, search, cut_us = evidence.log, drawn.actor[part], drawn.search[part], drawn.cut_us[part]
    size = len(actor)
    own = _gathered(np.arange(size), log.offsets[actor], log.offsets[actor + 1])
    own = own.where(evidence.in_sequences(own.rows))
    time_us, removed_us, own_cut_us = log.time_us[own.rows], evidence.removed.of(own.rows), cut_us[own.query]
    before = own.where(time_us < own_cut_us)
    history = own.where((time_us < own_cut_us) & (removed_us >= own_cut_us)).last(events, size)
    after = (time_us >= own_cut_us) & (time_us < period.end_us) & (removed_us >= period.end_us)
    met = own.where(after & evidence.positive(own.rows) & (search[own.query] < 0))
    met = _merged(met, _answering(evidence, answers, search))
    targets = _first_of_each(met, evidence)
    # An item someone bought and sent back is not new to them, so what was cancelled counts here.
    new = targets.where(~np.isin(targets.items(evidence), before.items(evidence)))
    firsts_us = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(firsts_us, met.query, log.time_us[met.rows])
    asked = _first_of_all(met, search)
    histories = _split(history.rows, history, size)
    wanted, wanted_new = (_split(log.item[each.rows], each, size) for each in (targets, new))
    for n in range(size):
        kind, text = ("search", int(log.query[search[n]])) if search[n] >= 0 else ("recommend", -1)
        when, first_us = int(cut_us[n]), int(firsts_us[n])
        yield EvaluationQuery(
            kind, int(actor[n]), text, when, histories[n], wanted[n], wanted_new[n], first_us, int(asked[n])
        )


def _first_of_all(met: _Rows, search: np.ndarray) -> np.ndarray:
    """Returns int64 [queries], the search each is, or the first row it looks for."""
    queries, begins = np.unique(met.query, return_index=True)
    first = search.astype(np.int64)
    first[queries] = np.where(search[queries] >= 0, search[queries], met.rows[begins])
    return first


def _gathered(query: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> _Rows:
    """Lays stretches end to end."""
    lengths = ends - begins
    shifts = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
    return _Rows(np.arange(len(shifts)) + shifts, np.repeat(query, lengths))


def _answering(evidence: Evidence, answers: np.ndarray, search: np.ndarray) -> _Rows:
    asked = np.flatnonzero(search >= 0)
    of = evidence.answers[answers]
    begins, ends = (np.searchsorted(of, search[asked], side) for side in ("left", "right"))
    places = _gathered(asked, begins, ends)
    return _Rows(answers[places.rows], places.query)


def _merged(some: _Rows, others: _Rows) -> _Rows:
    query = np.concatenate([some.query, others.query])
    order = np.argsort(query, kind="stable")
    return _Rows(np.concatenate([some.rows, others.rows])[order], query[order])


def _first_of_each(met: _Rows, evidence: Evidence) -> _Rows:
    """Keeps the first row of each item of each query."""
    _, first = np.unique(met.items(evidence), return_index=True)
    return met.where(np.sort(first))


def _split(values: np.ndarray, like: _Rows, queries: int) -> list[np.ndarray]:
    return np.split(values, np.searchsorted(like.query, np.arange(1, queries)))
