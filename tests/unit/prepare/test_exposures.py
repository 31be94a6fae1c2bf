"""What was shown and not chosen, from published days."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from pipeline.core.errors import DataError
from pipeline.core.run import Run
from pipeline.core.schema import MOST_EXPOSED
from pipeline.core.settings import Settings
from pipeline.prepare import exposures, step
from tests.fixtures.ingested import Row, at, days_of, event, ingest, open_run, publish

# Of four days, 1 and 2 are training, 3 is validation, 4 is the test.
DAYS = days_of("2024-03-01", 4)
GOODS = "abcdefgh"


def seen(kind: str, clock: str, item: str, session: str | None = "s1", user: str | None = "u1", day: int = 1) -> Row:
    return event(kind, at(DAYS[day], clock), item, session=session, user=user)


def night(settings: Settings, rows: list[Row]) -> Run:
    """Publishes days on which u0 looks at all goods first, u1 meets what the test says, and u2 is judged."""
    first = [event("view", at(DAYS[0], f"09:{n:02d}"), item, user="u0") for n, item in enumerate(GOODS)]
    judged = [event("view", at(day, f"10:0{n}"), "a", user="u2") for n in range(2) for day in DAYS[2:]]
    run = open_run(settings, f"{DAYS[0]}..{DAYS[3]}")
    for day in DAYS:
        own = [row for row in [*first, *rows, *judged] if str(row["event_time"].date()) == day]
        publish(run, day, ingest(run, day, own))
    step.run(settings, run)
    return run


def exposed(run: Run) -> list[list[str]]:
    """Returns what was shown before each target of u1, oldest first."""
    artifact = run.artifact("prepare")
    names = parquet.read_table(artifact.file("items.parquet")).sort_by("index")["item_id"].to_pylist()
    items, offsets = (np.load(artifact.file(f"exposed_{each}.npy")) for each in ("items", "offsets"))
    assert (items.dtype, offsets.dtype) == (np.int32, np.int64)
    assert len(offsets) == len(np.load(artifact.file("targets.npy"))) + 1
    assert artifact.json("split.json")["counts"]["exposed_items"] == len(items) == offsets[-1]
    lists = [[names[item - 1] for item in part] for part in np.split(items, offsets[1:-1])]
    assert not any(lists[: len(GOODS)])
    return lists[len(GOODS) :]


def test_what_was_shown_before_a_target_and_never_chosen_in_its_session_is_handed_on(settings: Settings) -> None:
    run = night(settings, [
        seen("impression", "10:00", "b"), seen("impression", "10:00", "c"), seen("impression", "10:01", "d"),
        seen("view", "10:01", "a"),
        seen("impression", "10:02", "b"), seen("impression", "10:02", "e"), seen("impression", "10:03", "f"),
        seen("view", "10:04", "c"), seen("cart", "10:04", "e"), seen("remove", "10:05", "f"),
    ])  # fmt: skip
    # c and e are chosen later in the session; what is shown at the moment of a target is not before it; b counts from
    # when it was first shown, and what was only taken out of the cart was not chosen. Targets are a, then c and e.
    assert exposed(run) == [["b"], ["b", "d", "f"], ["b", "d", "f"]]


def test_other_sessions_items_nobody_met_and_events_without_a_session_do_not_count(settings: Settings) -> None:
    run = night(settings, [
        seen("impression", "10:00", "b", session="s2"), seen("impression", "10:00", "never sold"),
        seen("impression", "10:00", "c", session=None), seen("impression", "10:00", "d"),
        seen("view", "10:01", "a"), seen("view", "10:02", "e", session=None), seen("view", "10:03", "f", session="s3"),
    ])  # fmt: skip
    assert exposed(run) == [["d"], [], []]


def test_a_session_may_begin_anonymous_and_what_it_was_shown_then_counts(settings: Settings) -> None:
    run = night(settings, [seen("impression", "10:00", "b", user=None), seen("view", "10:01", "a")])
    assert exposed(run) == [["b"]]


def test_the_newest_are_kept_where_more_were_shown_than_a_target_keeps(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_EXPOSED == 16
    monkeypatch.setattr(exposures, "MOST_EXPOSED", 3)
    rows = [seen("impression", f"10:{n:02d}", item) for n, item in enumerate("bcdef")]
    assert exposed(night(settings, [*rows, seen("view", "11:00", "a")])) == [["d", "e", "f"]]


def test_what_happens_from_validation_on_neither_adds_an_exposure_nor_takes_one_away(settings: Settings) -> None:
    run = night(settings, [
        seen("impression", "10:00", "b"), seen("view", "10:01", "a"),
        seen("impression", "00:00", "c", day=2), seen("view", "00:01", "b", day=2),
    ])  # fmt: skip
    assert exposed(run) == [["b"]]


def test_an_exposure_of_a_later_day_fails_the_night(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = exposures._unchosen
    later = at(DAYS[3], "00:00")

    def late(engine: Any, partitions: Any, end: datetime) -> Any:
        return honest(engine, partitions, later)

    monkeypatch.setattr(exposures, "_unchosen", late)
    rows = [seen("view", "10:01", "a"), seen("impression", "10:00", "b", day=2)]
    with pytest.raises(DataError, match=r"an exposure is of 2024-03-03T10:00:00, validation began 2024-03-03 00:00"):
        night(settings, rows)


def test_a_log_without_impressions_hands_on_none(settings: Settings) -> None:
    assert exposed(night(settings, [seen("view", "10:01", "a"), seen("view", "10:02", "b")])) == [[], []]
