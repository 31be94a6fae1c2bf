"""Days in, verdict and published records out."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from pipeline.core.errors import DataError, MissingInputError
from pipeline.core.run import Run
from pipeline.core.settings import Settings, load
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
        "rows": 4,
        "closed": False,
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
    for day, count in zip(days_of("2024-03-01", 3), (50, 40, 60), strict=True):
        ingest(history, day, views(day, count))
    step.run(settings, history)
    run = open_run(settings, "2024-03-04")
    ingest(run, "2024-03-04", views("2024-03-04", 4))
    # The median of 50, 40 and 60 is 50; 4 of 50 is 0.08, below 0.1.
    with pytest.raises(DataError, match=r"observed 0.08, expected at least 0.1 of the trailing median of 50 events"):
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


def test_a_published_record_whose_artifact_is_gone_is_named(settings: Settings) -> None:
    before = open_run(settings, "2024-03-01", "before")
    artifact = ingest(before, "2024-03-01", views("2024-03-01", 4))
    step.run(settings, before)
    (artifact.path / "manifest.json").unlink()
    run = open_run(settings, "2024-03-02")
    ingest(run, "2024-03-02", views("2024-03-02", 4))
    with pytest.raises(MissingInputError, match="ingest and validate 2024-03-01 again"):
        step.run(settings, run)


def test_data_docs_and_page_are_built_for_real(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", views("2024-03-01", 2))
    with pytest.raises(DataError):
        step.run(settings, run)
    folder = run.artifact("validate").path
    results = list((folder / "data_docs" / "validations").rglob("*.html"))
    assert len(results) == 1 and "duplicate_event_ids" in results[0].read_text()
    page = (folder / "report.html").read_text()
    assert "the_day_has_enough_events" in page and "<svg" in page
    assert "http" not in page
