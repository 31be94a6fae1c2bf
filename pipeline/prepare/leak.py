"""Nothing of tomorrow may be known today: asserted on what was made, whatever the code that made it believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.days import end_of_day, start_of_day
from pipeline.core.errors import DataError
from pipeline.prepare.arrays import blocks
from pipeline.prepare.exposures import Exposures
from pipeline.prepare.log import Log
from pipeline.prepare.queries import EvaluationQuery
from pipeline.prepare.split import Split, microseconds
from pipeline.prepare.training import MICROSECONDS, Training
from pipeline.prepare.vocabulary import Base
from pipeline.prepare.window import Partition
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import pyarrow as pa

REMEDY = "nothing was handed on; this is a fault of the step, please report it with the run id."
QUERIES_AT_ONCE = 1024


def assert_own_days(engine: Engine, partitions: Sequence[Partition], timezone: str) -> None:
    """Raises: DataError: a partition holds an event that is not of its day, as when a clock was wrong."""
    by_path = {partition.path("events.parquet"): partition for partition in partitions}
    events = engine.read(list(by_path), "file")
    spans = events.group_by("file").agg(oldest=events.event_time.min(), newest=events.event_time.max())
    rows = sorted(engine.answer(spans).to_pylist(), key=lambda row: by_path[row["file"]].day)
    for row in rows:
        day = by_path[row["file"]].day
        start_us, end_us = microseconds(start_of_day(day, timezone)), microseconds(end_of_day(day, timezone))
        for moment_us in map(microseconds, (row["oldest"], row["newest"])):
            if not start_us <= moment_us < end_us:
                raise DataError(
                    f"Leakage: the partition of {day} holds an event of {_moment(moment_us)} UTC, outside its day from "
                    f"{_moment(start_us)} until {_moment(end_us)}; nothing was handed on; ingest and validate {day} "
                    f"again."
                )


def assert_no_leak(
    training: Training,
    validation: Sequence[EvaluationQuery],
    test: Sequence[EvaluationQuery],
    log: Log,
    split: Split,
    descriptions: pa.Table,
) -> None:
    """Raises: DataError: training, vocabulary or a query's history holds something later than its cut.

    Args: descriptions: catalogue rows from before validation.
    """
    cuts = [microseconds(moment) for moment in (split.validation_start, split.test_start, split.test_end)]
    _assert(cuts == sorted(set(cuts)), f"the cuts are not in order: {split}")
    newest = max((int(training.times[b].max()) for b in blocks(len(training.times))), default=-1) * MICROSECONDS
    _assert(newest < cuts[0], f"training holds an event of {_moment(newest)}, validation began {_moment(cuts[0])}")
    _assert_vocabulary(training, descriptions)
    _assert_contexts(training, log, cuts[0])
    _assert_queries("validation", validation, log, cuts[0], cuts[1])
    _assert_queries("test", test, log, cuts[1], cuts[2])


def assert_known_by(split: Split, descriptions: pa.Table, base: Base | None) -> None:
    """Raises: DataError: the catalogue, or the vocabulary grown from, is of a time after validation began."""
    import pyarrow.compute as pc

    newest: datetime | None = pc.max(descriptions["valid_from"]).as_py()
    began = f"validation began {split.validation_start}"
    _assert(newest is None or newest < split.validation_start, f"an item's description is of {newest}, {began}")
    if base is not None:
        until = base.learned_until
        _assert(until <= split.validation_start, f"the vocabulary of {base.day} learned until {until}, {began}")


def assert_shown_before(shown: Exposures, split: Split) -> None:
    """Raises: DataError: an exposure is of a time after validation began."""
    newest = max((int(shown.shown_us[b].max()) for b in blocks(len(shown.shown_us))), default=-1)
    began = f"validation began {split.validation_start}"
    _assert(newest < microseconds(split.validation_start), f"an exposure is of {_moment(newest)}, {began}")


def _assert_vocabulary(training: Training, descriptions: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    events, targets = (_counted(training, which) for which in ("items", "targets"))
    _assert(np.array_equal(events, training.events), "the vocabulary counts events that are not in training")
    described = pc.is_in(training.vocabulary.names, value_set=descriptions["item_id"].cast(pa.large_string()))
    _refuse(
        (events == 0) & ~described.to_numpy(zero_copy_only=False),
        lambda n: f"index {n + 1} of the vocabulary has neither an event in training nor a catalogue row from before",
    )
    same = np.allclose(targets, training.probability * max(targets.sum(), 1))
    _assert(same, "the sampling probabilities are not those of the training targets")


def _assert_contexts(training: Training, log: Log, end_us: int) -> None:
    known = np.zeros(len(log.contexts) + 1, bool)
    for block in blocks(len(log)):
        known[log.context[block][log.time_us[block] < end_us]] = True
    foreign = set(training.context_texts) - set(log.contexts.take(np.flatnonzero(known[:-1])).to_pylist())
    _assert(
        not foreign, f"training holds the context {min(foreign, default='')!r}, which no event before validation had"
    )


def _counted(training: Training, which: str) -> np.ndarray:
    counts, places = np.zeros(len(training.vocabulary) + 1, np.int64), getattr(training, which)
    for block in blocks(len(places)):
        items = places[block] if which == "items" else training.items[places[block]]
        counts += np.bincount(items, minlength=len(counts))
    return counts[1:]


def _assert_queries(name: str, queries: Sequence[EvaluationQuery], log: Log, start_us: int, end_us: int) -> None:
    cut_us, first_us = (np.array([getattr(q, f) for q in queries], np.int64) for f in ("time_us", "first_target_us"))
    newest_us = np.concatenate([_newest(queries[n : n + QUERIES_AT_ONCE], log) for n in _steps(queries)] or [cut_us])
    outside = (cut_us < start_us) | (cut_us >= end_us)
    _refuse(outside, lambda n: f"{name} query {n} is at {_moment(cut_us[n])}, outside its period")
    knows = newest_us >= cut_us
    _refuse(knows, lambda n: f"{name} query {n} holds history that is not before {_moment(cut_us[n])}")
    beyond = (first_us < cut_us) | (first_us >= end_us)
    _refuse(beyond, lambda n: f"{name} query {n} has a target outside of its period")
    asked_us = log.time_us[[query.asked for query in queries]]
    foreseen = (asked_us < cut_us) | (asked_us > first_us)
    _refuse(foreseen, lambda n: f"{name} query {n} has the context of an event of {_moment(asked_us[n])}, not its own")


def _steps(queries: Sequence[EvaluationQuery]) -> range:
    return range(0, len(queries), QUERIES_AT_ONCE)


def _newest(queries: Sequence[EvaluationQuery], log: Log) -> np.ndarray:
    """Returns int64 [queries], the moment of the newest event in each history, or the least number."""
    newest_us = np.full(len(queries), np.iinfo(np.int64).min)
    lengths = np.array([len(query.history) for query in queries])
    filled = np.flatnonzero(lengths)
    if len(filled):
        begins = np.cumsum(lengths[filled]) - lengths[filled]
        time_us = log.time_us[np.concatenate([queries[n].history for n in filled])]
        newest_us[filled] = np.maximum.reduceat(time_us, begins)
    return newest_us


def _refuse(wrong: np.ndarray, fault: Callable[[int], str]) -> None:
    if wrong.any():
        _assert(False, fault(int(np.argmax(wrong))))


def _assert(holds: bool, fault: str) -> None:
    if not holds:
        raise DataError(f"Leakage: {fault}; {REMEDY}")


def _moment(time_us: int) -> str:
    return str(np.datetime64(int(time_us), "us").astype("datetime64[s]"))
