"""A leak planted into a night fails it: one sentence, no artifact, and no vocabulary to grow from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet
import pytest

from pipeline.core.errors import DataError
from pipeline.core.run import Run
from pipeline.core.settings import Settings, load
from pipeline.prepare import files, step
from pipeline.prepare.log import Log
from pipeline.prepare.queries import EvaluationQuery
from pipeline.prepare.vocabulary import Vocabulary
from pipeline.store.partitions import Partitions
from tests.fixtures.ingested import at, event, open_run
from tests.fixtures.windows import load_window

WORDS = ("prepare.max_test_days=2", "prepare.validation_days=2")
# Of eight days, 1 to 4 are training, 5 and 6 validation, 7 and 8 the test.
DAY = "2024-03-03"


@pytest.fixture
def shop(settings: Settings) -> Settings:
    return load([f"store.root={settings.store.root}", *WORDS])


@pytest.fixture
def night(shop: Settings) -> Run:
    return load_window(shop)


def assert_refused(settings: Settings, run: Run, match: str) -> None:
    """Holds that the step says that sentence and leaves nothing."""
    with pytest.raises(DataError, match=match) as caught:
        step.run(settings, run)
    sentence = str(caught.value)
    assert sentence.startswith("Leakage: ") and "nothing was handed on" in sentence and "\n" not in sentence
    folder = Path(run.root) / "store" / "prepare"
    assert not folder.exists() or not list(folder.iterdir())
    assert "prepare" not in {path.stem for path in (run.folder / "refs").iterdir()}
    assert Partitions.open(settings, "vocabulary").days() == []


def rewritten(run: Run, day: str, change: Callable[[pa.Table], pa.Table], name: str = "events.parquet") -> None:
    """Changes a file of a partition where it lies."""
    path = run.artifact("ingest", day).file(name)
    parquet.write_table(change(parquet.read_table(path)), path)


@pytest.mark.parametrize(
    ("moment", "found"),
    [(at("2024-03-07", "10:00"), "2024-03-07T10:00:00"), (at("2024-03-04", "00:00"), "2024-03-04T00:00:00"),
     (at("2024-03-02", "23:59"), "2024-03-02T23:59:00")],
)  # fmt: skip
def test_an_event_of_another_day_smuggled_into_a_partition(shop: Settings, night: Run, moment, found) -> None:
    def smuggle(table: pa.Table) -> pa.Table:
        row = event("view", moment, "item 1", user="smuggler")
        return pa.concat_tables([table, pa.Table.from_pylist([row], schema=table.schema)])

    rewritten(night, DAY, smuggle)
    assert_refused(
        shop, night, rf"the partition of {DAY} holds an event of {found} UTC, outside its day from {DAY}T00:00:00"
    )


def test_a_partition_whose_clock_ran_ahead(shop: Settings, night: Run) -> None:
    def ahead(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("event_time")
        return table.set_column(place, table.field(place), pc.add(table["event_time"], timedelta(hours=22)))

    rewritten(night, DAY, ahead)
    assert_refused(
        shop, night, rf"the partition of {DAY} holds an event of 2024-03-04T0\d:\d\d:00 UTC, outside its day"
    )


def test_a_partition_that_was_cut_at_the_midnights_of_another_zone(night: Run, shop: Settings) -> None:
    elsewhere = load([f"store.root={shop.store.root}", *WORDS, "shop.timezone=Asia/Tokyo"])
    # Midnight in Tokyo is 15:00 UTC of the day before, and the day ends at 15:00; the events are of 00:00 to 04:00.
    late = event("view", at(DAY, "15:00"), "item 1")
    rewritten(night, DAY, lambda table: pa.Table.from_pylist([*table.to_pylist(), late], schema=table.schema))
    assert_refused(elsewhere, night, rf"the partition of {DAY} holds an event of {DAY}T15:00:00 UTC, outside its day")


def planted(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Any], Any], room: Any = step) -> None:
    """Changes what one part of the step hands on, between building and asserting."""
    honest = getattr(room, name)
    monkeypatch.setattr(room, name, lambda *given: change(honest(*given)))


def test_a_clock_shifted_between_cutting_and_building(shop: Settings, night: Run, monkeypatch) -> None:
    honest = step.build_training

    def late(evidence, end_us, vocabulary, counted, folder) -> Any:
        later_us = end_us + 3 * 3_600_000_000
        return honest(evidence, later_us, vocabulary, step.tally(evidence, later_us, 0), folder)

    monkeypatch.setattr(step, "build_training", late)
    assert_refused(
        shop, night, r"training holds an event of 2024-03-05T0[0-2]:\d\d:\d\d, validation began 2024-03-05T00:00:00"
    )


def test_events_moved_back_into_training(shop: Settings, night: Run, monkeypatch) -> None:
    def shifted(training: Any) -> Any:
        training.times[-1] += 86_400 * 4
        return training

    planted(monkeypatch, "build_training", shifted)
    assert_refused(shop, night, "training holds an event of 2024-03-0[5-8]T.*, validation began 2024-03-05T00:00:00")


def test_a_vocabulary_entry_of_an_item_only_the_test_knows(shop: Settings, night: Run, monkeypatch) -> None:
    last = "2024-03-08"
    seen = event("view", at(last, "05:00"), "from the test")
    rewritten(night, last, lambda table: pa.Table.from_pylist([*table.to_pylist(), seen], table.schema))

    def with_entry(made: Vocabulary) -> Vocabulary:
        # Names are coded in their order, and "from the test" comes before all of "item …".
        names = pa.concat_arrays([made.names, pa.array(["from the test"], pa.large_string())])
        return Vocabulary(names, np.append(made.codes, 0), np.append(made.previous, np.int32(0)), made.left)

    planted(monkeypatch, "grow", with_entry)
    assert_refused(shop, night, r"index \d+ of the vocabulary has neither an event in training nor a catalogue row")


def test_popularity_counted_over_all_days(shop: Settings, night: Run, monkeypatch) -> None:
    planted(monkeypatch, "build_training", lambda made: replace(made, events=made.events + 1))
    assert_refused(shop, night, "the vocabulary counts events that are not in training")


def planted_query(monkeypatch: pytest.MonkeyPatch, change: Callable[[EvaluationQuery, np.ndarray, Log], Any]) -> None:
    """Changes the first query of the test, given the rows of whoever asks it."""
    honest = step._draw

    def drawn(evidence, split, wanted) -> Any:
        queries, log = honest(evidence, split, wanted), evidence.log
        first, *others = queries["test"]
        rows = np.arange(*log.offsets[first.actor : first.actor + 2])
        return {**queries, "test": [change(first, rows, log), *others]}

    monkeypatch.setattr(step, "_draw", drawn)


def test_a_query_that_carries_its_answer(shop: Settings, night: Run, monkeypatch) -> None:
    def answered(query: EvaluationQuery, rows: np.ndarray, log: Log) -> EvaluationQuery:
        after = rows[log.time_us[rows] >= query.time_us]
        return replace(query, history=np.append(query.history, after[:1]))

    planted_query(monkeypatch, answered)
    assert_refused(shop, night, "test query 0 holds history that is not before 2024-03-07")


def test_a_query_that_is_told_where_somebody_went_later(shop: Settings, night: Run, monkeypatch) -> None:
    def foretold(query: EvaluationQuery, rows: np.ndarray, log: Log) -> EvaluationQuery:
        after = rows[log.time_us[rows] > query.first_target_us]
        return replace(query, asked=int(after[0]))

    planted_query(monkeypatch, foretold)
    assert_refused(shop, night, "test query 0 has the context of an event of 2024-03-0[78]T.*, not its own")


def test_a_context_that_only_the_test_knows(shop: Settings, night: Run, monkeypatch) -> None:
    last = "2024-03-08"
    seen = event("view", at(last, "05:00"), "item 1", context="country=of the test")
    rewritten(night, last, lambda table: pa.Table.from_pylist([*table.to_pylist(), seen], table.schema))
    planted(monkeypatch, "build_training", lambda made: replace(made, context_texts=["country=of the test"]))
    assert_refused(
        shop, night, "training holds the context 'country=of the test', which no event before validation had"
    )


def test_a_catalogue_row_that_is_valid_only_later(shop: Settings, night: Run, monkeypatch) -> None:
    honest = files.describe_items
    later = timedelta(days=10)
    monkeypatch.setattr(files, "describe_items", lambda engine, days, start: honest(engine, days, start + later))
    assert_refused(shop, night, "an item's description is of 2024-03-.*, validation began 2024-03-05")


def test_an_honest_night_after_a_refused_one_is_handed_on(shop: Settings, night: Run, monkeypatch) -> None:
    with monkeypatch.context() as planting:
        planted(planting, "build_training", lambda made: replace(made, events=made.events + 1))
        assert_refused(shop, night, "the vocabulary counts")
    assert step.run(shop, night).counts["items"] == 27
    assert len(parquet.read_table(night.artifact("prepare").file("items.parquet"))) == 27


def test_items_planted_into_the_vocabulary_before_do_not_come_in(shop: Settings) -> None:
    load_window(shop)
    before, after = (open_run(shop, f"2024-03-0{n}", f"night-{n}") for n in (7, 8))
    step.run(shop, before)
    forged = before.artifact("prepare").path
    items = parquet.read_table(forged / "items.parquet")
    names = pa.array(["never sold", *items["item_id"].to_pylist()[1:]])
    parquet.write_table(items.set_column(1, "item_id", names), forged / "items.parquet")
    step.run(shop, after)
    rows = parquet.read_table(after.artifact("prepare").file("items.parquet"))
    assert "never sold" not in rows["item_id"].to_pylist()
    assert after.artifact("prepare").json("split.json")["counts"]["items_left"] >= 1
