from __future__ import annotations

from pathlib import Path

from pipeline.core.settings import Settings
from pipeline.ingest.profiles.checking import check
from tests.unit.ingest.conftest import Source

GOOD = "2026-01-05T10:01:00Z,anna,v1,seen,lamp{},,9.50,"


def checked(source: Source, path: Path, rows: int) -> str:
    settings: Settings = source.settings
    return check(str(path), str(source.profile), settings, rows)


def test_a_torn_row_among_the_first_shows_however_many_good_ones_follow(source: Source) -> None:
    path = source.write(GOOD.format(0), "torn", *(GOOD.format(n) for n in range(1, 50)))
    text = checked(source, path, 10)
    assert "the first 10 rows" in text
    assert "row 2 (byte " in text


def test_only_torn_rows_may_be_among_the_first(source: Source) -> None:
    path = source.write("torn", "torn too", *(GOOD.format(n) for n in range(5)))
    assert "row 1 (byte 42), row 2 (byte 47)" in checked(source, path, 2)


def test_a_file_of_all_days_with_a_row_at_the_end_of_the_calendar_is_checked(source: Source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "all.csv"\n  file_covers: all')
    path = source.write(GOOD.format(0), GOOD.format(1).replace("2026-01-05", "9999-12-31"), name="all.csv")
    assert "no readable time" in checked(source, path, 10)
    path = source.write(GOOD.format(0), GOOD.format(1).replace("2026-01-05", "9998-12-31"), name="all.csv")
    assert "judged as rows of 2026-01-05..9998-12-31" in checked(source, path, 10)
