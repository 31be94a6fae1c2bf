from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.core.errors import UsageError
from pipeline.ingest.judging.times import clocks_of, format_of


def test_the_clocks_of_a_zone_are_data() -> None:
    clocks = clocks_of("Europe/Berlin")
    change = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())
    place = clocks.utc_seconds.index(change)
    # From one hour ahead of UTC to two; times from three o'clock on are surely summer time.
    assert clocks.offsets[place : place + 2] == (3600, 7200)
    assert clocks.wall_seconds[place] == change + 7200
    back = clocks.utc_seconds[place + 1]
    # In autumn the hour from two to three comes twice; from three o'clock on it is surely winter.
    assert datetime.fromtimestamp(back, UTC) == datetime(2026, 10, 25, 1, tzinfo=UTC)
    assert clocks.wall_seconds[place + 1] == back + 7200


def test_a_zone_without_changes_is_one_offset() -> None:
    assert clocks_of("UTC").offsets == (0,)
    assert clocks_of("Asia/Dubai").offsets[-1] == 4 * 3600


@pytest.mark.parametrize(
    ("form", "letters"),
    [
        ("%Y-%m-%d %H:%M:%S", "yyyy-M-d H:m:s"),
        ("%Y%m%dT%H%M%S", "yyyyMMdd'T'HHmmss"),
        ("%d/%b/%y %I o'clock %p", "d/MMM/yy h 'o''''c''l''o''c''k' a"),
    ],
)
def test_a_format_is_translated(form: str, letters: str) -> None:
    assert format_of(form).letters == letters


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("%Y-%m-%d %Z", "holds %Z; known are %Y"),
        ("%Y-%m-%d %z %H", "holds %z; known are"),
        ("%H:%M", "does not say the whole day"),
        ("%Y-%m-%d %I:%M", "needs %I and %p together"),
        ("%Y-%m-%d %", "holds %; known are"),
    ],
)
def test_a_format_that_not_every_engine_reads_is_refused(form: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        format_of(form)


def test_an_offset_is_taken_off_the_end_of_a_format() -> None:
    form = format_of("%d/%b/%Y:%H:%M:%S %z")
    assert (form.directives, form.states_offset) == ("%d/%b/%Y:%H:%M:%S", True)
