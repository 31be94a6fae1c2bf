"""Evaluation queries of one period: what was known at a moment, and what came after it.

`recommend`: one query for everyone with a view, cart or purchase in the period. Whoever has earlier history is cut at
the period's start. Whoever has none (a new user, or an unknown user's session) is cut in the middle of their own
events, and only where time passed between the halves. Targets are the distinct items viewed, put in the cart or bought
after the cut: what an answer should have held, bought or not, and every one of them, also items too new to be found.

`search`: one query for every search with an answer, cut at the search; its targets are the items that answered it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from pipeline.prepare.evidence import Evidence
from pipeline.prepare.log import Log


@dataclass(frozen=True)
class Period:
    """From `start_us` until before `end_us`."""

    start_us: int
    end_us: int


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


@dataclass(frozen=True)
class _Candidate:
    kind: str
    actor: int
    search: int = -1


def draw_queries(evidence: Evidence, period: Period, events: int, most: int) -> list[EvaluationQuery]:
    """Returns at most so many queries of the period, drawn evenly, in the order of time, actor, kind, text.

    Each carries its last `events` events; the query tower reads fewer, the rest are known as seen.

    Who is drawn hangs on the query's own words alone, so another day's log does not reshuffle the draw.
    """
    drawn: list[EvaluationQuery] = []
    for candidate in _shuffled(evidence.log, [*_people(evidence, period), *_searches(evidence, period)]):
        query = _query(evidence, period, candidate, events)
        if query is not None:
            drawn.append(query)
        if len(drawn) == most:
            break
    return sorted(drawn, key=lambda q: (q.time_us, q.actor, q.kind, q.text))


def _people(evidence: Evidence, period: Period) -> Iterator[_Candidate]:
    met = evidence.positive & evidence.standing(period.end_us, period.start_us)
    return (_Candidate("recommend", int(actor)) for actor in np.unique(evidence.log.actor[met]))


def _searches(evidence: Evidence, period: Period) -> Iterator[_Candidate]:
    log = evidence.log
    rows = np.unique(evidence.answers[(evidence.answers >= 0) & evidence.positive & evidence.standing(period.end_us)])
    rows = rows[(log.time_us[rows] >= period.start_us) & (log.query[rows] >= 0)]
    return (_Candidate("search", int(log.actor[row]), int(row)) for row in rows)


def _shuffled(log: Log, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    def rank(candidate: _Candidate) -> bytes:
        name = f"{candidate.kind}|{log.actors[candidate.actor].as_py()}"
        if candidate.search >= 0:
            name += f"|{log.time_us[candidate.search]}|{log.queries[int(log.query[candidate.search])].as_py()}"
        return blake2b(name.encode(), digest_size=16).digest()

    order = sorted(range(len(candidates)), key=lambda n: (rank(candidates[n]), n))
    return [candidates[n] for n in order]


def _query(evidence: Evidence, period: Period, candidate: _Candidate, events: int) -> EvaluationQuery | None:
    rows = evidence.rows_of(candidate.actor)
    if candidate.kind == "search":
        cut, text = int(evidence.log.time_us[candidate.search]), int(evidence.log.query[candidate.search])
        after = evidence.answers_to(candidate.search)
    else:
        cut, text, after = _cut(evidence, period, rows), -1, rows
    if cut is None:
        return None
    met = after[evidence.positive[after] & evidence.standing(period.end_us, cut, after)]
    if not len(met):
        return None
    history = rows[evidence.in_sequences[rows] & evidence.standing(cut, rows=rows)]
    before = rows[evidence.in_sequences[rows] & (evidence.log.time_us[rows] < cut)]
    targets = _distinct(evidence.log.item[met])
    # An item someone bought and sent back is not new to them, so what was cancelled counts here.
    new = targets[~np.isin(targets, evidence.log.item[before])]
    first = int(evidence.log.time_us[met].min())
    return EvaluationQuery(candidate.kind, candidate.actor, text, cut, history[-events:], targets, new, first)


def _cut(evidence: Evidence, period: Period, rows: np.ndarray) -> int | None:
    """Returns the moment that parts history from targets, or None when no time passed between events."""
    own = rows[evidence.in_sequences[rows]]
    if evidence.standing(period.start_us, rows=own).any():
        return period.start_us
    times = evidence.log.time_us[own[evidence.standing(period.end_us, period.start_us, own)]]
    if not len(times) or times[0] == times[-1]:
        return None
    middle = times[len(times) // 2]
    return int(middle if middle > times[0] else times[times > times[0]][0])


def _distinct(codes: np.ndarray) -> np.ndarray:
    _, first = np.unique(codes, return_index=True)
    return codes[np.sort(first)]
