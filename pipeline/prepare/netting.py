"""What a later event takes back from, or adds to, an earlier one: cancels and answered searches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pipeline.prepare.arrays import blocks
from pipeline.prepare.log import CODE, NEVER, POSITIVE, UNCODED, Log

MICROSECONDS_A_MINUTE = 60_000_000
ROWS_SORTED_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Removals:
    """Purchases that were cancelled in whole, and when: int64 [removals], rows ascending, microseconds."""

    rows: np.ndarray
    at_us: np.ndarray

    def of(self, rows: np.ndarray | slice) -> np.ndarray:
        """Returns when each of these events was cancelled, `NEVER` for those that were not: int64 [rows]."""
        if isinstance(rows, slice):
            left, right = np.searchsorted(self.rows, [rows.start, rows.stop])
            times_us = np.full(rows.stop - rows.start, NEVER)
            times_us[self.rows[left:right] - rows.start] = self.at_us[left:right]
            return times_us
        place = np.searchsorted(self.rows, rows)
        found = np.append(self.rows, -1)[place] == rows
        return np.where(found, np.append(self.at_us, NEVER)[place], NEVER)


def removals(log: Log) -> Removals:
    """Finds what was cancelled in whole.

    A cancel takes its pieces from the same actor's latest earlier purchases of the item, those of its own moment
    included; one with nothing left to take from is dropped. The time is kept, because a set cut before the cancel must
    not know of it.
    """
    rows, cancels, pair = _bought_and_cancelled(log)
    standing: dict[int, list[list[int]]] = defaultdict(list)
    removed: list[tuple[int, int]] = []
    pieces = np.maximum(np.abs(log.quantity[rows].astype(np.int64)), 1)
    columns = (rows, pair, pieces, cancels, log.time_us[rows])
    for row, key, count, cancel, time_us in zip(*(column.tolist() for column in columns), strict=True):
        if cancel:
            removed += [(taken, time_us) for taken in _take_back(standing[key], count)]
        else:
            standing[key].append([row, count])
    found = np.array(sorted(removed), np.int64).reshape(-1, 2)
    return Removals(found[:, 0].copy(), found[:, 1].copy())


def _bought_and_cancelled(log: Log) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the purchases and cancels of what one actor did both to: rows, whether cancels, actor and item."""
    kinds = (CODE["purchase"], CODE["cancel"])
    found = [b.start + np.flatnonzero(np.isin(log.kind[b], kinds) & (log.item[b] >= 0)) for b in blocks(len(log))]
    rows = np.concatenate(found) if found else np.zeros(0, np.int64)
    cancels = log.kind[rows] == CODE["cancel"]
    pair = log.actor[rows].astype(np.int64) * (len(log.items) + 1) + log.item[rows]
    both = np.isin(pair, np.intersect1d(pair[cancels], pair[~cancels]))
    return rows[both], cancels[both], pair[both]


def _take_back(purchases: list[list[int]], pieces: int) -> list[int]:
    """Takes pieces off the latest purchases and returns the rows of those that have none left."""
    emptied = []
    while purchases and pieces:
        row, left = purchases[-1]
        if left > pieces:
            purchases[-1][1] -= pieces
            break
        pieces -= left
        emptied.append(row)
        purchases.pop()
    return emptied


def answered_searches(log: Log, answer_minutes: int) -> np.ndarray:
    """Returns the row of the search each view, cart or purchase answers, or -1: int32 (int64 if need be) [events].

    That is the latest search of its session, at most `answer_minutes` before it. Events without a session take their
    actor for one.
    """
    answers = np.full(len(log), -1, np.int32 if len(log) < 2**31 else np.int64)
    rows = _rows_beside_searches(log)
    parts = -(-len(rows) // ROWS_SORTED_AT_ONCE)
    for part in range(parts):
        own = rows[_place(log, rows) % parts == part] if parts > 1 else rows
        answering, search = _latest_search(log, own, answer_minutes * MICROSECONDS_A_MINUTE)
        answers[answering] = search
    return answers


def _place(log: Log, rows: np.ndarray | slice) -> np.ndarray:
    """Returns int64 [rows], the session; a session may begin anonymous and end logged in, so it can have two actors."""
    session = log.session[rows].astype(np.int64)
    return np.where(session >= 0, session, -1 - log.actor[rows].astype(np.int64))


def _rows_beside_searches(log: Log) -> np.ndarray:
    """Returns the searches, and what could answer them, of every session that has a search."""
    in_session = np.zeros(int(log.session.max(initial=0)) + 1, bool)
    of_actor = np.zeros(len(log.offsets), bool)
    for block in blocks(len(log)):
        searches = log.kind[block] == CODE["search"]
        session, actor = log.session[block][searches], log.actor[block][searches]
        in_session[session[session >= 0]] = True
        of_actor[actor[session < 0]] = True
    found = []
    for block in blocks(len(log)):
        session, actor = log.session[block], log.actor[block]
        concerned = np.where(session >= 0, in_session[np.maximum(session, 0)], of_actor[actor])
        concerned &= session != UNCODED
        concerned &= np.isin(log.kind[block], (CODE["search"], *POSITIVE))
        found.append(block.start + np.flatnonzero(concerned))
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _latest_search(log: Log, rows: np.ndarray, within_us: int) -> tuple[np.ndarray, np.ndarray]:
    place, is_search = _place(log, rows), log.kind[rows] == CODE["search"]
    order = np.lexsort((~is_search, log.time_us[rows], place))
    rows, place, is_search = rows[order], place[order], is_search[order]
    latest = np.maximum.accumulate(np.where(is_search, np.arange(len(rows)), -1))
    near = log.time_us[rows] - log.time_us[rows[latest]] <= within_us
    fits = (latest >= 0) & ~is_search & (place[latest] == place) & near
    return rows[fits], rows[latest[fits]]
