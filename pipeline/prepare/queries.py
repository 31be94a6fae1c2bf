"""Evaluation queries of one period: what was known at a moment, and what came after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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
    """

    kind: str
    actor: int
    text: int
    time_us: int
    history: np.ndarray
    targets: np.ndarray
    new_targets: np.ndarray
    first_target_us: int


def draw_queries(
    evidence: Evidence, period: Period, events: int, most: int, among: np.ndarray | None = None
) -> list[EvaluationQuery]:
    """Returns at most so many queries of the period, drawn evenly, in the order of time, actor, kind, text.

    Each carries its last `events` events; the query tower reads fewer, the rest are known as seen.

    Args:
        among: int64, ascending: rows that hold all of the period's, where they are known.
    """
    drawn = find_candidates(evidence, period, among).drawn(evidence.log, most)
    answers = _answers(evidence, period, drawn, among)
    columns = (drawn.actor, drawn.search, drawn.cut_us)
    queries = [
        _query(evidence, period.end_us, actor, search, cut_us, answers, events)
        for actor, search, cut_us in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return sorted(queries, key=lambda q: (q.time_us, q.actor, q.kind, q.text))


def _answers(
    evidence: Evidence, period: Period, drawn: Candidates, among: np.ndarray | None
) -> Mapping[int, np.ndarray]:
    """Returns the rows that answer each search drawn, oldest first."""
    searches = np.unique(drawn.search[drawn.search >= 0])
    rows = evidence.rows_between(period.start_us, period.end_us, among)
    rows = rows[np.isin(evidence.answers[rows], searches)]
    rows = rows[np.lexsort((rows, evidence.log.time_us[rows], evidence.answers[rows]))]
    ends = np.searchsorted(evidence.answers[rows], searches, side="right")
    return dict(zip(searches.tolist(), np.split(rows, ends[:-1]), strict=True)) if len(searches) else {}


def _query(
    evidence: Evidence,
    end_us: int,
    actor: int,
    search: int,
    cut_us: int,
    answers: Mapping[int, np.ndarray],
    events: int,
) -> EvaluationQuery:
    log, rows = evidence.log, evidence.rows_of(actor)
    kind, text = ("search", int(log.query[search])) if search >= 0 else ("recommend", -1)
    after = answers[search] if search >= 0 else rows
    met = after[evidence.positive(after) & evidence.standing(after, end_us, cut_us)]
    own = rows[evidence.in_sequences(rows)]
    history = own[evidence.standing(own, cut_us)]
    before = own[log.time_us[own] < cut_us]
    targets = _distinct(log.item[met])
    # An item someone bought and sent back is not new to them, so what was cancelled counts here.
    new = targets[~np.isin(targets, log.item[before])]
    return EvaluationQuery(kind, actor, text, cut_us, history[-events:], targets, new, int(log.time_us[met].min()))


def _distinct(codes: np.ndarray) -> np.ndarray:
    _, first = np.unique(codes, return_index=True)
    return codes[np.sort(first)]
