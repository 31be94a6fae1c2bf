"""Nothing of tomorrow may be known today: asserted on what was made, whatever the code that made it believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.errors import DataError
from pipeline.prepare.log import Log
from pipeline.prepare.queries import EvaluationQuery
from pipeline.prepare.split import Split, microseconds
from pipeline.prepare.training import MICROSECONDS, Training

REMEDY = "nothing was handed on; this is a fault of the step, please report it with the run id."


def assert_no_leak(
    training: Training, validation: Sequence[EvaluationQuery], test: Sequence[EvaluationQuery], log: Log, split: Split
) -> None:
    """Raises: DataError: training, vocabulary or a query's history holds something later than its cut."""
    cuts = [microseconds(moment) for moment in (split.validation_start, split.test_start, split.test_end)]
    _assert(cuts == sorted(set(cuts)), f"the cuts are not in order: {split}")
    if len(training.times):
        newest = int(training.times.max()) * MICROSECONDS
        _assert(newest < cuts[0], f"training holds an event of {_moment(newest)}, validation began {_moment(cuts[0])}")
    _assert_vocabulary(training)
    _assert_queries("validation", validation, log, cuts[0], cuts[1])
    _assert_queries("test", test, log, cuts[1], cuts[2])


def _assert_vocabulary(training: Training) -> None:
    counts = np.bincount(training.items, minlength=len(training.vocabulary) + 1)[1:]
    _assert(np.array_equal(counts, training.events), "the vocabulary counts events that are not in training")
    targets = np.bincount(training.items[training.targets], minlength=len(training.vocabulary) + 1)[1:]
    same = np.allclose(targets, training.probability * max(targets.sum(), 1))
    _assert(same, "the sampling probabilities are not those of the training targets")


def _assert_queries(name: str, queries: Sequence[EvaluationQuery], log: Log, start_us: int, end_us: int) -> None:
    for number, query in enumerate(queries):
        where = f"{name} query {number}"
        inside = start_us <= query.time_us < end_us
        _assert(inside, f"{where} is at {_moment(query.time_us)}, outside its period")
        history = log.time_us[query.history]
        past = not len(history) or int(history.max()) < query.time_us
        _assert(past, f"{where} holds history that is not before {_moment(query.time_us)}")
        _assert(query.time_us <= query.first_target_us < end_us, f"{where} has a target outside of its period")


def _assert(holds: bool, fault: str) -> None:
    if not holds:
        raise DataError(f"Leakage: {fault}; {REMEDY}")


def _moment(time_us: int) -> str:
    return str(np.datetime64(time_us, "us").astype("datetime64[s]"))
