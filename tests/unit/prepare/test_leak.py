"""A leak planted in what was made is found, whoever planted it; and tomorrow's events change nothing made for today."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.prepare.candidates import Period
from pipeline.prepare.evidence import Evidence
from pipeline.prepare.leak import assert_known_by, assert_no_leak
from pipeline.prepare.queries import draw_queries
from pipeline.prepare.split import Split
from pipeline.prepare.training import Training
from pipeline.prepare.vocabulary import Base, Vocabulary

SECOND = 1_000_000
VALIDATION, TEST, END = 100, 200, 300


def moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


SPLIT = Split(date(1970, 1, 1), date(1970, 1, 1), moment(VALIDATION), moment(TEST), moment(END))


def made(evidence: Evidence, train: Callable[..., Training]) -> list:
    """Returns training, validation, test, log, split and no descriptions, in the order the check takes them."""
    training = train(evidence, VALIDATION)
    validation = draw_queries(evidence, Period(VALIDATION * SECOND, TEST * SECOND), 5, 1000)
    test = draw_queries(evidence, Period(TEST * SECOND, END * SECOND), 5, 1000)
    return [training, validation, test, evidence.log, SPLIT, pa.table({"item_id": pa.array([], pa.string())})]


@pytest.fixture
def parts(evidence_of: Callable[..., Evidence], train: Callable[..., Training]) -> list:
    lines = [("u", second, "view", item) for second, item in ((10, "a"), (20, "b"), (110, "c"), (210, "d"))]
    return made(evidence_of(*lines, ("v", 30, "view", "b"), ("v", 120, "view", "a")), train)


def test_what_was_made_honestly_passes(parts) -> None:
    assert_no_leak(*parts)
    assert len(parts[1]) == 2 and len(parts[2]) == 1


def test_a_validation_event_in_training_is_found(parts) -> None:
    training = parts[0]
    times = training.times.copy()
    times[-1] = VALIDATION
    with pytest.raises(DataError, match="training holds an event of 1970-01-01T00:01:40"):
        assert_no_leak(replace(training, times=times), *parts[1:])


def test_counts_from_beyond_training_are_found(parts) -> None:
    training = parts[0]
    with pytest.raises(DataError, match="counts events that are not in training"):
        assert_no_leak(replace(training, events=training.events + np.array([0, 1])), *parts[1:])


def test_probabilities_from_beyond_training_are_found(parts) -> None:
    training = parts[0]
    with pytest.raises(DataError, match="probabilities"):
        assert_no_leak(replace(training, probability=np.array([0.5, 0.5])), *parts[1:])


def with_c(training: Training, events: int) -> Training:
    """Adds c, which validation is the first to hold."""
    known = training.vocabulary
    names = pa.concat_arrays([known.names, pa.array(["c"], pa.large_string())])
    return replace(
        training,
        vocabulary=Vocabulary(names, np.append(known.codes, -1), np.zeros(3, np.int32), 0),
        events=np.append(training.events, events),
        probability=np.append(training.probability, 0.0),
    )


def test_an_item_without_any_training_event_belongs_where_the_catalogue_held_it_before(parts) -> None:
    grown = with_c(parts[0], events=0)
    assert_no_leak(grown, *parts[1:5], pa.table({"item_id": ["c"]}))
    sentence = "index 3 of the vocabulary has neither an event in training nor a catalogue row from before"
    with pytest.raises(DataError, match=sentence):
        assert_no_leak(grown, *parts[1:])


def test_an_item_first_seen_in_validation_is_found_in_the_vocabulary(parts) -> None:
    with pytest.raises(DataError, match="vocabulary"):
        assert_no_leak(with_c(parts[0], events=1), *parts[1:])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        # Row 2 is u's event at second 110, a target of the query.
        ({"history": np.array([0, 1, 2])}, "validation query 0 holds history that is not before"),
        ({"time_us": 99 * SECOND}, "validation query 0 is at .* outside its period"),
        ({"time_us": 200 * SECOND}, "validation query 0 is at .* outside its period"),
        ({"time_us": 115 * SECOND}, "validation query 0 has a target outside"),
        ({"first_target_us": 99 * SECOND}, "validation query 0 has a target outside"),
        ({"first_target_us": 200 * SECOND}, "validation query 0 has a target outside"),
    ],
)
def test_a_query_that_knows_its_future_is_found(parts, change, sentence) -> None:
    training, validation, *rest = parts
    with pytest.raises(DataError, match=sentence):
        assert_no_leak(training, [replace(validation[0], **change), *validation[1:]], *rest)


def test_cuts_out_of_order_are_found(parts) -> None:
    with pytest.raises(DataError, match="cuts are not in order"):
        assert_no_leak(*parts[:4], replace(SPLIT, test_start=moment(VALIDATION)), parts[5])


def test_the_query_at_fault_is_named_however_many_there_are(parts) -> None:
    training, validation, *rest = parts
    many = [validation[0]] * 3000
    many[2500] = replace(validation[0], history=np.array([0, 1, 2]))
    with pytest.raises(DataError, match="validation query 2500 holds history"):
        assert_no_leak(training, many, *rest)


def test_a_vocabulary_that_learned_from_validation_is_found(tmp_path: Path) -> None:
    described = pa.table({"valid_from": pa.array([moment(VALIDATION - 1)])})
    for until in (VALIDATION, VALIDATION + 1):
        (tmp_path / "split.json").write_text(json.dumps({"validation_start": moment(until).isoformat()}))
        base = Base(date(1970, 1, 1), Artifact(tmp_path), "")
        if until == VALIDATION:
            assert_known_by(SPLIT, described, base)
        else:
            with pytest.raises(DataError, match="the vocabulary of 1970-01-01 learned until 1970-01-01 00:01:41"):
                assert_known_by(SPLIT, described, base)


def test_a_description_of_the_moment_validation_begins_is_found() -> None:
    described = pa.table({"valid_from": pa.array([moment(VALIDATION - 1), moment(VALIDATION)])})
    with pytest.raises(DataError, match="an item's description is of 1970-01-01 00:01:40"):
        assert_known_by(SPLIT, described, None)


def random_lines(seed: int, begin: int, end: int, count: int) -> list[tuple]:
    draw = np.random.default_rng(seed)
    kinds = ["view", "view", "cart", "remove", "purchase", "cancel", "search"]
    lines = []
    for _ in range(count):
        user, kind = int(draw.integers(12)), kinds[draw.integers(len(kinds))]
        thing = f"text {draw.integers(5)}" if kind == "search" else f"i{draw.integers(15)}"
        more = {"session": f"s{user}-{draw.integers(3)}", "quantity": int(draw.integers(1, 4))}
        lines.append((f"u{user:02d}", int(draw.integers(begin, end)), kind, thing, more))
    return lines


def named(parts: list) -> tuple:
    """Returns training and queries with names for codes, so that logs of other items compare."""
    training, validation, test, log, _, _ = parts
    names = log.items.to_pylist()
    vocabulary = [names[code] for code in training.vocabulary.codes]
    sequences = [training.items.tolist(), training.types.tolist(), training.times.tolist(), training.offsets.tolist()]
    targets = [training.targets.tolist(), training.target_queries.tolist(), training.queries]
    queries = [
        [
            [log.actors[q.actor].as_py(), q.kind, q.time_us, log.queries[q.text].as_py() if q.text >= 0 else None]
            + [[names[c] for c in codes] for codes in (log.item[q.history], q.targets, q.new_targets)]
            for q in drawn
        ]
        for drawn in (validation, test)
    ]
    return (vocabulary, training.probability.tolist(), sequences, targets), *queries


@pytest.mark.parametrize("seed", range(5))
def test_what_happens_later_changes_nothing_made_for_earlier(evidence_of, train, seed) -> None:
    training = random_lines(seed, 0, VALIDATION, 150)
    validation = random_lines(seed + 100, VALIDATION, TEST, 80)
    test, other_test = (random_lines(seed + n, TEST, END, 80) for n in (200, 300))
    whole, otherwise = (named(made(evidence_of(*training, *validation, *each), train)) for each in (test, other_test))
    assert whole[0] == otherwise[0] and whole[1] == otherwise[1]
    assert whole[2] != otherwise[2]
    without = named(made(evidence_of(*training, *other_test), train))
    assert without[0] == whole[0]
