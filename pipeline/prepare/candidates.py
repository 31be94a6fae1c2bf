"""Every query a period could ask, found without asking them one by one.

`recommend`: one query for everyone with a view, cart or purchase in the period. Whoever has earlier history is cut at
the period's start. Whoever has none (a new user, or an unknown user's session) is cut in the middle of their own
events, and only where time passed between the halves. Targets are the distinct items viewed, put in the cart or bought
after the cut: what an answer should have held, bought or not, and every one of them, also items too new to be found.

`search`: one query for every search with an answer, cut at the search; its targets are the items that answered it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.prepare.evidence import Evidence
from pipeline.prepare.log import NEVER, Log
from pipeline.prepare.words import hashed, mixed

RECOMMEND, SEARCH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)


@dataclass(frozen=True)
class Period:
    """From `start_us` until before `end_us`."""

    start_us: int
    end_us: int


@dataclass(frozen=True)
class Candidates:
    """Queries as columns: int64 [queries].

    Attributes:
        search: row of the search, or -1 for a recommendation.
        cut_us: what came before is history, the rest may be targets.
    """

    actor: np.ndarray
    search: np.ndarray
    cut_us: np.ndarray

    def __len__(self) -> int:
        return len(self.actor)

    def drawn(self, log: Log, most: int) -> Candidates:
        """Returns at most so many, drawn evenly.

        Who is drawn hangs on the query's own words alone (kind, user, and a search's time and text), so another day's
        log does not reshuffle the draw.
        """
        return self._where(np.lexsort((self.search, self.actor, _ranks(self, log)))[:most])

    def in_order(self, log: Log) -> Candidates:
        """Returns the same in the order of time, actor, kind, text."""
        text = np.where(self.search >= 0, log.query[self.search], -1)
        return self._where(np.lexsort((self.search, text, self.search >= 0, self.actor, self.cut_us)))

    def _where(self, chosen: np.ndarray) -> Candidates:
        return Candidates(self.actor[chosen], self.search[chosen], self.cut_us[chosen])


def _ranks(queries: Candidates, log: Log) -> np.ndarray:
    actors, place = np.unique(queries.actor, return_inverse=True)
    users, searches = hashed(log.actors.take(actors))[place], np.flatnonzero(queries.search >= 0)
    ranks, rows = mixed(users ^ RECOMMEND), queries.search[searches]
    texts, text = np.unique(log.query[rows], return_inverse=True)
    moments = mixed(mixed(users[searches] ^ SEARCH) ^ log.time_us[rows].astype(np.uint64))
    ranks[searches] = mixed(moments ^ hashed(log.queries.take(texts))[text])
    return ranks


def find_candidates(evidence: Evidence, period: Period, among: np.ndarray | None = None) -> Candidates:
    """Returns every query of the period.

    Args:
        among: int64, ascending: rows that hold all of the period's, where they are known.
    """
    rows = evidence.rows_between(period.start_us, period.end_us, among)
    rows = rows[evidence.in_sequences(rows) & evidence.standing(rows, period.end_us)]
    people, cuts_us = _people(evidence, period, rows)
    searches = _searches(evidence, period, rows)
    return Candidates(
        np.concatenate([people, evidence.log.actor[searches]]).astype(np.int64),
        np.concatenate([np.full(len(people), -1), searches]),
        np.concatenate([cuts_us, evidence.log.time_us[searches]]),
    )


def _searches(evidence: Evidence, period: Period, rows: np.ndarray) -> np.ndarray:
    log = evidence.log
    answering = rows[evidence.positive(rows)]
    searches = np.unique(evidence.answers[answering]).astype(np.int64)
    searches = searches[searches >= 0]
    return searches[(log.time_us[searches] >= period.start_us) & (log.query[searches] >= 0)]


def _people(evidence: Evidence, period: Period, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    log = evidence.log
    met = np.unique(log.actor[rows[evidence.positive(rows)]])
    known = evidence.had_history(met, period.start_us)
    is_new = np.zeros(len(log.offsets), bool)
    is_new[met[~known]] = True
    new, cuts_us = _cut_in_the_middle(evidence, rows[is_new[log.actor[rows]]])
    return np.concatenate([met[known], new]), np.concatenate([np.full(known.sum(), period.start_us), cuts_us])


def _cut_in_the_middle(evidence: Evidence, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns those for whom time passed between their events with something to find after the cut, and their cuts."""
    actors, begins, sizes = np.unique(evidence.log.actor[rows], return_index=True, return_counts=True)
    if not len(rows):
        return actors, np.zeros(0, np.int64)
    time_us = evidence.log.time_us[rows]
    first_us, middle_us = time_us[begins], time_us[begins + sizes // 2]
    later_us = np.where(time_us > np.repeat(first_us, sizes), time_us, NEVER)
    cuts_us = np.where(middle_us > first_us, middle_us, np.minimum.reduceat(later_us, begins))
    last_met_us = np.maximum.reduceat(np.where(evidence.positive(rows), time_us, -1), begins)
    holds = (cuts_us < NEVER) & (last_met_us >= cuts_us)
    return actors[holds], cuts_us[holds]
