"""Days in, verdict and published records out."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import BusyError, DataError, MissingInputError
from pipeline.core.run import REPORT, Run
from pipeline.core.settings import Settings, load
from pipeline.core.step import Report
from pipeline.store.partitions import Partitions, Record
from pipeline.validate import step
from tests.fixtures.ingested import Row, at, days_of, digests, event, ingest, open_run


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A shop small enough to write by hand: three events make a day, two days make a trail."""
    return load([f"store.root={settings.store.root}", "validate.min_rows=3", "validate.min_trailing_days=2"])


def views(day: str, count: int) -> list[Row]:
    """Views a minute apart, the last in the day's last hour."""
    newest = at(day, "23:30")
    return [event("view", newest - timedelta(minutes=n), f"i{n % 3}", price=2.0) for n in range(count)]


def published(run: Run, day: str) -> dict:
    path = run.layout.published_folder / f"{day}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def verdict(run: Run) -> dict:
    return run.artifact("validate").json("verdict.json")


def test_a_good_day_is_published_under_the_key_of_its_ingest_artifact(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    artifact = ingest(run, "2024-03-01", views("2024-03-01", 4))
    report = step.run(settings, run)
    assert report.verdict == "pass"
    assert published(run, "2024-03-01") == {
        "day": "2024-03-01",
        "ingest_key": artifact.key,
        "digest": artifact.digest,
        "run_id": "run",
        "revision": 1,
        "rows": 4,
        "closed": False,
        "late_rows": 0,
        "validated_by": run.artifact("validate").key,
    }


def test_the_first_days_say_they_are_warming_up_and_the_third_does_not(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01..2024-03-03")
    for day in days_of("2024-03-01", 3):
        ingest(run, day, views(day, 4))
    report = step.run(settings, run)
    assert verdict(run)["warming_up_days"] == ["2024-03-01", "2024-03-02"]
    assert verdict(run)["warming_up"] is False
    assert "warming up" not in report.sentence
    first = open_run(settings, "2024-03-01", "first")
    ingest(first, "2024-03-01", views("2024-03-01", 4))
    assert "warming up" in step.run(settings, first).sentence


def test_a_failed_day_names_what_was_observed_and_keeps_its_old_record_while_others_are_published(
    settings: Settings,
) -> None:
    before = open_run(settings, "2024-03-02", "before")
    ingest(before, "2024-03-02", views("2024-03-02", 4))
    step.run(settings, before)
    old = published(before, "2024-03-02")
    run = open_run(settings, "2024-03-01..2024-03-03")
    for day in days_of("2024-03-01", 3):
        ingest(run, day, views(day, 2 if day == "2024-03-02" else 4))
    with pytest.raises(DataError) as refusal:
        step.run(settings, run)
    sentence = str(refusal.value)
    wanted = "2024-03-02 did not pass: the_day_has_enough_events on column * observed 2, expected at least 3"
    assert wanted in sentence
    assert str(run.artifact("validate").path / "report.html") in sentence
    assert verdict(run)["failures"] == [
        {
            "day": "2024-03-02",
            "suite": "events",
            "expectation": "the_day_has_enough_events",
            "column": "*",
            "observed": 2,
            "expected": "at least 3",
            "severity": "fail",
        }
    ]
    assert published(run, "2024-03-02") == old
    assert published(run, "2024-03-01") and published(run, "2024-03-03")


def test_a_failed_verdict_is_kept_and_refuses_again_from_the_cache(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", views("2024-03-01", 2))
    with pytest.raises(DataError) as first:
        step.run(settings, run)
    made = digests(run.artifact("validate").path)
    with pytest.raises(DataError) as second:
        step.run(settings, run)
    assert str(first.value) == str(second.value)
    assert digests(run.artifact("validate").path) == made


def test_a_cached_verdict_publishes_again_what_was_lost(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, run)
    record = published(run, "2024-03-01")
    (run.layout.published_folder / "2024-03-01.json").unlink()
    assert step.run(settings, run).cached
    assert published(run, "2024-03-01") == record


def test_a_closed_day_passes_without_events_and_an_empty_open_day_does_not(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01..2024-03-02")
    ingest(run, "2024-03-01", views("2024-03-01", 4))
    ingest(run, "2024-03-02", closed=True)
    report = step.run(settings, run)
    assert report.counts["days_closed"] == 1
    assert published(run, "2024-03-02")["closed"] is True
    empty = open_run(settings, "2024-03-03", "empty")
    ingest(empty, "2024-03-03")
    with pytest.raises(DataError, match="the_day_has_enough_events on column \\* observed 0"):
        step.run(settings, empty)


def test_a_run_of_closed_days_alone_passes(settings: Settings) -> None:
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", closed=True)
    assert step.run(settings, run).verdict == "pass"
    assert verdict(run)["passed"] is True


def test_volume_is_held_against_the_days_published_before(settings: Settings) -> None:
    history = open_run(settings, "2024-03-01..2024-03-03", "history")
    for day, count in zip(days_of("2024-03-01", 3), (100, 80, 120), strict=True):
        ingest(history, day, views(day, count))
    step.run(settings, history)
    run = open_run(settings, "2024-03-04")
    ingest(run, "2024-03-04", views("2024-03-04", 4))
    # None of the three is a Monday, and what their weekdays are credited with moves each towards the middle, ln 100:
    # 100 is expected, and 4 of 100 is 0.04.
    with pytest.raises(DataError, match=r"observed 0.04, expected at least 0.05 of the 100 events to expect"):
        step.run(settings, run)


def test_volume_forgets_days_beyond_the_trailing_window(settings: Settings) -> None:
    history = open_run(settings, "2024-03-01..2024-03-03", "history")
    for day in days_of("2024-03-01", 3):
        ingest(history, day, views(day, 50))
    step.run(settings, history)
    # 2024-03-31 is 28 days after 2024-03-03, so that day alone is left, and two are needed.
    run = open_run(settings, "2024-03-31")
    ingest(run, "2024-03-31", views("2024-03-31", 4))
    assert "warming up" in step.run(settings, run).sentence


def test_the_key_changes_with_the_trailing_days(settings: Settings) -> None:
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", views("2024-03-02", 4))
    step.run(settings, run)
    alone = run.artifact("validate").key
    before = open_run(settings, "2024-03-01", "before")
    ingest(before, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, before)
    assert not step.run(settings, run).cached
    assert run.artifact("validate").key != alone


def test_a_day_that_was_not_ingested_is_named(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01..2024-03-02")
    ingest(run, "2024-03-01", views("2024-03-01", 4))
    with pytest.raises(MissingInputError, match="no ingest 2024-03-02 yet"):
        step.run(settings, run)


def test_a_published_day_is_read_again_only_when_nothing_is_kept_of_it(settings: Settings) -> None:
    before = open_run(settings, "2024-03-01", "before")
    artifact = ingest(before, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, before)
    (artifact.path / "events.parquet").unlink()
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", views("2024-03-02", 4))
    assert step.run(settings, run).verdict == "pass"
    shutil.rmtree(before.artifact("validate").path)
    (artifact.path / "manifest.json").unlink()
    again = open_run(settings, "2024-03-02", "again")
    ingest(again, "2024-03-02", views("2024-03-02", 5))
    with pytest.raises(MissingInputError, match="ingest and validate 2024-03-01 again"):
        step.run(settings, again)


def test_what_is_no_longer_kept_of_a_published_day_is_made_from_its_partition(settings: Settings) -> None:
    history = open_run(settings, "2024-03-01..2024-03-02", "history")
    for day in days_of("2024-03-01", 2):
        ingest(history, day, views(day, 50))
    step.run(settings, history)
    shutil.rmtree(history.artifact("validate").path)
    run = open_run(settings, "2024-03-03")
    ingest(run, "2024-03-03", views("2024-03-03", 50))
    assert "warming up" not in step.run(settings, run).sentence


def test_an_event_of_an_hour_s_last_moment_is_of_that_hour(settings: Settings) -> None:
    day = "2024-03-01"
    run = open_run(settings, day)
    last = [at(day, f"{hour}:59:59") + timedelta(milliseconds=700) for hour in (11, 22, 23)]
    ingest(run, day, [event("view", moment, "i1", price=2.0) for moment in last])
    step.run(settings, run)
    kept = run.artifact("validate").json("summaries.json")["days"][day]["hours"]
    assert {hour: n for hour, n in enumerate(kept) if n} == {11: 1, 22: 1, 23: 1}


def test_an_item_described_weeks_ago_is_known(settings: Settings) -> None:
    before = open_run(settings, "2024-01-01", "before")
    ingest(before, "2024-01-01", views("2024-01-01", 4))
    step.run(settings, before)
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", views("2024-03-02", 4), items=[])
    assert step.run(settings, run).verdict == "pass"
    short = load([f"store.root={settings.store.root}", "validate.min_rows=3", "validate.catalogue_days=30"])
    with pytest.raises(DataError, match="items_are_in_the_catalogue on column item_id observed 1, "):
        step.run(short, run)


def test_a_reopened_day_is_judged_again_marked_and_published_with_its_late_rows(settings: Settings) -> None:
    first = open_run(settings, "2024-03-01", "first")
    ingest(first, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, first)
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", views("2024-03-02", 4))
    reopened = ingest(run, "2024-03-01", views("2024-03-01", 6), late=2)
    report = step.run(settings, run)
    assert report.counts["days_reopened"] == 1
    assert verdict(run)["reopened_days"] == ["2024-03-01"]
    record = published(run, "2024-03-01")
    assert (record["rows"], record["late_rows"], record["revision"]) == (6, 2, 2)
    assert record["ingest_key"] == reopened.key
    page = (run.artifact("validate").path / "report.html").read_text()
    assert "re-opened for late rows: 2024-03-01" in page and "re-opened, 2 late rows" in page


def test_a_reopened_day_that_fails_leaves_its_record_and_the_run_s_own_day_is_published(settings: Settings) -> None:
    first = open_run(settings, "2024-03-01", "first")
    ingest(first, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, first)
    old = published(first, "2024-03-01")
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", views("2024-03-02", 4))
    ingest(run, "2024-03-01", [*views("2024-03-01", 6), views("2024-03-01", 1)[0]], late=3)
    with pytest.raises(DataError, match="2024-03-01 did not pass: event_ids_are_unique on column event_id observed 1"):
        step.run(settings, run)
    assert published(run, "2024-03-01") == old
    assert published(run, "2024-03-02")["rows"] == 4


def test_a_run_that_publishes_what_stands_already_leaves_the_record_alone(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, run)
    record = published(run, "2024-03-01")
    other = open_run(settings, "2024-03-01", "other")
    ingest(other, "2024-03-01", views("2024-03-01", 4))
    assert step.run(settings, other).cached
    assert published(other, "2024-03-01") == record


def land(settings: Settings, day: str, artifact: Artifact, run_id: str) -> None:
    landed = Partitions.open(settings, "landed")
    record = {"day": day, "ingest_key": artifact.key, "digest": artifact.digest, "run_id": run_id}
    landed.switch(date.fromisoformat(day), Record(record), landed.read(date.fromisoformat(day)))


def test_what_another_run_landed_and_published_since_is_not_replaced_by_the_older_partition(settings: Settings) -> None:
    day = "2024-03-01"
    older, newer = open_run(settings, day, "older"), open_run(settings, day, "newer")
    land(settings, day, ingest(older, day, views(day, 4)), "older")
    land(settings, day, ingest(newer, day, views(day, 5)), "newer")
    step.run(settings, newer)
    with pytest.raises(BusyError, match=r"run newer landed 2024-03-01 again after run older ingested it.* from ingest"):
        step.run(settings, older)
    assert published(older, day)["run_id"] == "newer"


def test_a_settled_partition_of_what_is_landed_is_published(settings: Settings) -> None:
    day = "2024-03-01"
    run = open_run(settings, day)
    own = ingest(run, day, views(day, 4))
    land(settings, day, own, "run")
    settled, _ = run.make("ingest", {"own": own.key}, {}, lambda folder: _copied(own, folder))
    run.refer("ingest", settled, day)
    step.run(settings, run)
    assert published(run, day)["ingest_key"] == settled


def _copied(artifact: Artifact, folder: Path) -> Report:
    for name in artifact.manifest["files"]:
        if name != REPORT:
            shutil.copyfile(artifact.file(name), folder / name)
    return Report("settled by hand")


def test_data_docs_and_page_are_built_for_real(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", views("2024-03-01", 2))
    with pytest.raises(DataError):
        step.run(settings, run)
    folder = run.artifact("validate").path
    results = list((folder / "data_docs" / "validations").rglob("*.html"))
    assert {path.relative_to(folder / "data_docs" / "validations").parts[0] for path in results} == {
        "events",
        "catalogue",
    }
    assert any("events.duplicates(event_id)" in path.read_text() for path in results)
    page = (folder / "report.html").read_text()
    assert "the day has enough events" in page and "<svg" in page
    assert "http" not in page


def test_a_run_marked_as_of_is_judged_and_publishes_nothing(settings: Settings) -> None:
    night = open_run(settings, "2024-03-01", "night")
    ingest(night, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, night)
    before = published(night, "2024-03-01")
    trial = open_run(settings, "2024-03-01..2024-03-02", "trial", as_of=at("2024-03-03"), backfill=True)
    for day in days_of("2024-03-01", 2):
        ingest(trial, day, views(day, 5))
    report = step.run(settings, trial)
    assert report.sentence.endswith("Marked as-of: nothing was published.")
    assert verdict(trial)["passed"]
    assert (published(trial, "2024-03-01"), published(trial, "2024-03-02")) == (before, {})
