"""What a later event takes back from, or adds to, an earlier one: cancels and answered searches."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pipeline.prepare.log import CODE, NEVER, POSITIVE, Log

MICROSECONDS_A_MINUTE = 60_000_000


def removal_times(log: Log) -> np.ndarray:
    """Returns when each purchase was cancelled in whole, `NEVER` for all else: int64 [events], microseconds.

    A cancel takes its pieces from the same actor's latest earlier purchases of the item; one with nothing left to take
    from is dropped. The time is kept, because a set cut before the cancel must not know of it.
    """
    removed = np.full(len(log), NEVER, np.int64)
    cancels = (log.kind == CODE["cancel"]) & (log.item >= 0)
    pair = log.actor.astype(np.int64) * (len(log.items) + 1) + log.item
    concerned = np.isin(pair, np.unique(pair[cancels])) & (cancels | (log.kind == CODE["purchase"]))
    standing: dict[int, list[list[int]]] = defaultdict(list)
    for row in np.flatnonzero(concerned):
        pieces = max(abs(int(log.quantity[row])), 1)
        if cancels[row]:
            _take_back(standing[int(pair[row])], pieces, int(log.time_us[row]), removed)
        else:
            standing[int(pair[row])].append([int(row), pieces])
    return removed


def _take_back(purchases: list[list[int]], pieces: int, time_us: int, removed: np.ndarray) -> None:
    while purchases and pieces:
        row, left = purchases[-1]
        if left > pieces:
            purchases[-1][1] -= pieces
            return
        pieces -= left
        removed[row] = time_us
        purchases.pop()


def answered_searches(log: Log, answer_minutes: int) -> np.ndarray:
    """Returns the row of the search each view, cart or purchase answers, or -1: int64 [events].

    That is the latest search of its session, at most `answer_minutes` before it. Events without a session take their
    actor for one.
    """
    # A session may begin anonymous and end logged in, so its events can lie under two actors.
    place = np.where(log.session >= 0, log.session.astype(np.int64), -1 - log.actor.astype(np.int64))
    searches = log.kind == CODE["search"]
    rows = np.flatnonzero(np.isin(place, np.unique(place[searches])))
    rows = rows[np.lexsort((rows, ~searches[rows], log.time_us[rows], place[rows]))]
    is_search = searches[rows]
    latest = np.maximum.accumulate(np.where(is_search, np.arange(len(rows)), -1)) if len(rows) else rows
    search = rows[latest]
    near = log.time_us[rows] - log.time_us[search] <= answer_minutes * MICROSECONDS_A_MINUTE
    fits = (latest >= 0) & (place[search] == place[rows]) & near & np.isin(log.kind[rows], POSITIVE)
    answers = np.full(len(log), -1, np.int64)
    answers[rows[fits]] = search[fits]
    return answers
