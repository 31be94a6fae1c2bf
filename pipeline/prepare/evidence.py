"""The log together with what its events did to one another, computed once for every cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.prepare.log import IN_SEQUENCES, POSITIVE, Log
from pipeline.prepare.netting import answered_searches, removal_times


@dataclass(frozen=True)
class Evidence:
    """All arrays are [events] but `by_search`.

    Attributes:
        removed_us: int64, when the event was cancelled, or `NEVER`.
        answers: int64, row of the search it answers, or -1.
        in_sequences: bool, an item event that history may hold.
        positive: bool, an item event that may be a target: view, cart, purchase.
        by_search: int64, rows that answer a search, grouped by the search, oldest first.
    """

    log: Log
    removed_us: np.ndarray
    answers: np.ndarray
    in_sequences: np.ndarray
    positive: np.ndarray
    by_search: np.ndarray

    @classmethod
    def of(cls, log: Log, answer_minutes: int) -> Evidence:
        answers, has_item = answered_searches(log, answer_minutes), log.item >= 0
        rows = np.flatnonzero(answers >= 0)
        by_search = rows[np.lexsort((rows, log.time_us[rows], answers[rows]))]
        in_sequences, positive = (np.isin(log.kind, kinds) & has_item for kinds in (IN_SEQUENCES, POSITIVE))
        return cls(log, removal_times(log), answers, in_sequences, positive, by_search)

    def standing(self, end_us: int, start_us: int = 0, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Returns which events from `start_us` until before `end_us` were not cancelled by then: bool [rows]."""
        time_us = self.log.time_us[rows]
        return (time_us >= start_us) & (time_us < end_us) & (self.removed_us[rows] >= end_us)

    def rows_of(self, actor: int) -> np.ndarray:
        rows = self.log.rows_of(actor)
        return np.arange(rows.start, rows.stop)

    def answers_to(self, search: int) -> np.ndarray:
        """Returns the rows that answer a search, oldest first."""
        left, right = np.searchsorted(self.answers[self.by_search], [search, search + 1])
        return self.by_search[left:right]
