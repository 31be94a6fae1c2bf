"""The log together with what its events did to one another, computed once for every cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.schema import EVENT_TYPES
from pipeline.prepare.arrays import blocks
from pipeline.prepare.log import IN_SEQUENCES, NEVER, POSITIVE, Log
from pipeline.prepare.netting import Removals, answered_searches, removals

_IN_SEQUENCES, _POSITIVE = (np.isin(np.arange(len(EVENT_TYPES)), kinds) for kinds in (IN_SEQUENCES, POSITIVE))
Rows = np.ndarray | slice


@dataclass(frozen=True)
class Evidence:
    """What is asked of events is asked of some rows at a time, so that nothing as long as the log need be made.

    Attributes:
        removed: what was cancelled, and when.
        answers: int32 or int64 [events], row of the search it answers, or -1.
        first_us: int64 [actors], the first event of each that history may hold and nobody took back, or `NEVER`.
    """

    log: Log
    removed: Removals
    answers: np.ndarray
    first_us: np.ndarray

    @classmethod
    def of(cls, log: Log, answer_minutes: int) -> Evidence:
        bare = cls(log, removals(log), answered_searches(log, answer_minutes), np.zeros(0, np.int64))
        return cls(log, bare.removed, bare.answers, _first_us(bare))

    def in_sequences(self, rows: Rows) -> np.ndarray:
        """Returns which are item events that history may hold: bool [rows]."""
        return _IN_SEQUENCES[self.log.kind[rows]] & (self.log.item[rows] >= 0)

    def positive(self, rows: Rows) -> np.ndarray:
        """Returns which are item events that may be a target (view, cart, purchase): bool [rows]."""
        return _POSITIVE[self.log.kind[rows]] & (self.log.item[rows] >= 0)

    def standing(self, rows: Rows, end_us: int) -> np.ndarray:
        """Returns which events came before `end_us` and were not cancelled by then: bool [rows]."""
        return (self.log.time_us[rows] < end_us) & (self.removed.of(rows) >= end_us)

    def rows_between(self, start_us: int, end_us: int, among: np.ndarray | None = None) -> np.ndarray:
        """Returns the rows of that time, ascending: of the whole log, or among those given."""
        if among is not None:
            time_us = self.log.time_us[among]
            return among[(time_us >= start_us) & (time_us < end_us)]
        times = ((block.start, self.log.time_us[block]) for block in blocks(len(self.log)))
        found = [begin + np.flatnonzero((time_us >= start_us) & (time_us < end_us)) for begin, time_us in times]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def had_history(self, actors: np.ndarray, moment_us: int) -> np.ndarray:
        """Returns who had an event that stood when the moment came: bool [actors]."""
        rows = self.removed.rows
        taken_back_since = rows[(self.log.time_us[rows] < moment_us) & (self.removed.at_us >= moment_us)]
        return (self.first_us[actors] < moment_us) | np.isin(actors, self.log.actor[taken_back_since])


def _first_us(evidence: Evidence) -> np.ndarray:
    log = evidence.log
    first_us = np.full(len(log.offsets) - 1, NEVER)
    for block in blocks(len(log)):
        rows = block.start + np.flatnonzero(evidence.in_sequences(block) & (evidence.removed.of(block) == NEVER))
        actors, begins = np.unique(log.actor[rows], return_index=True)
        # Events are in the order of time; somebody parted by the end of a block has an earlier one already.
        first_us[actors] = np.minimum(first_us[actors], log.time_us[rows[begins]])
    return first_us
