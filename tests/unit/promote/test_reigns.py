"""Who was champion when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from pipeline.core.errors import UsageError
from pipeline.promote.reigns import reigns, told
from pipeline.store.ledger import Entry

NOW = datetime(2024, 5, 9, tzinfo=UTC)
BLANK = Entry(0, "", "promotion", "schedule", "", "", "", "", "", "", {}, "")


def at(text: str) -> str:
    return f"2024-05-{text}:00.000+00:00"


def ledger() -> list[Entry]:
    rows = [
        ("promotion", at("01T02:00"), "a" * 64, "1"),
        ("refusal", at("02T02:00"), "x" * 64, "2"),
        ("promotion", at("03T02:00"), "b" * 64, "3"),
        ("rollback", at("03T09:30"), "a" * 64, "1"),
        ("promotion", at("05T02:00"), "c" * 64, "4"),
        ("rolled_back", at("05T02:01"), "a" * 64, "1"),
    ]
    return [
        replace(BLANK, sequence=number, kind=kind, at=when, to_digest=digest, version=version)
        for number, (kind, when, digest, version) in enumerate(rows, start=1)
    ]


def versions(on: str, timezone: str = "UTC") -> list[str]:
    return [line.partition("version ")[2].partition(",")[0] or "none" for line in told(ledger(), on, timezone, NOW)]


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("2024-04-30", ["none"]),
        ("2024-05-01", ["none", "1"]),
        # A refusal changes nothing, so the day is one stretch.
        ("2024-05-02", ["1"]),
        ("2024-05-03", ["1", "3", "1"]),
        ("2024-05-05", ["1", "4", "1"]),
        ("2024-05-08", ["1"]),
    ],
)
def test_a_day_is_told_in_stretches(on: str, expected: list[str]) -> None:
    assert versions(on) == expected


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("2024-05-01T01:59:59", "none"),
        ("2024-05-01T02:00:00", "1"),
        ("2024-05-03T09:29:59.999+00:00", "3"),
        ("2024-05-03T09:30+00:00", "1"),
        ("2024-05-05T02:00:30", "4"),
    ],
)
def test_at_a_moment_one_stood_or_none(on: str, expected: str) -> None:
    assert versions(on) == [expected]


def test_days_and_moments_are_the_shops() -> None:
    # In Auckland the third of May ends at noon UTC, and begins at noon of the second.
    assert versions("2024-05-03", "Pacific/Auckland") == ["1", "3", "1"]
    assert versions("2024-05-04", "Pacific/Auckland") == ["1"]
    assert versions("2024-05-03T15:00", "Pacific/Auckland") == ["3"]


def test_stretches_follow_each_other_without_gaps() -> None:
    begin, end = datetime(2024, 4, 30, tzinfo=UTC), datetime(2024, 5, 7, tzinfo=UTC)
    found = reigns(ledger(), begin, end)
    assert [found[0].begin, found[-1].end] == [begin, end]
    assert all(one.end == other.begin for one, other in pairwise(found))


def test_today_ends_now_and_tomorrow_is_not_told() -> None:
    now = datetime(2024, 5, 5, 12, tzinfo=UTC)
    assert "to 2024-05-05 12:00:00 UTC" in told(ledger(), "2024-05-05", "UTC", now)[-1]
    with pytest.raises(UsageError, match="2024-05-06 has not come yet"):
        told(ledger(), "2024-05-06", "UTC", now)


@pytest.mark.parametrize("on", ["yesterday", "2024-05-32", "2024-05-03T25:00"])
def test_what_is_no_time_is_refused_in_a_sentence(on: str) -> None:
    with pytest.raises(UsageError, match=r"is n(ot a day|either a day nor a moment)"):
        told(ledger(), on, "UTC", NOW)
