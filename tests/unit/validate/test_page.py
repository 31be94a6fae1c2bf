"""The page: what it says first, and what it must never show."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.core.settings import Settings, load
from pipeline.validate import step
from tests.fixtures.ingested import at, days_of, event, ingest, open_run
from tests.unit.validate.test_faults import a_day, without
from tests.unit.validate.test_suite import good


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return load([f"store.root={settings.store.root}", "validate.min_rows=3"])


def page_of(settings: Settings, days: str, run_id: str = "run") -> str:
    run = open_run(settings, days, run_id)
    return (run.artifact("validate").path / "report.html").read_text()


def headline(page: str) -> str:
    return re.search(r"<h1>(.*?)</h1>", page).group(1)


class Outside(HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name == "src" or (name == "href" and tag != "a")]
        self.found += [tag] if tag in ("script", "link", "iframe") else []


def test_a_day_s_page_says_whether_it_was_published(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", good("2024-03-01"))
    step.run(settings, run)
    page = page_of(settings, "2024-03-01")
    assert headline(page) == "Friday, 1 March 2024: published"
    assert "Every rule held." in page and "warming up" in page
    bad = open_run(settings, "2024-03-01", "bad")
    ingest(bad, "2024-03-01", good("2024-03-01", 2))
    with pytest.raises(DataError):
        step.run(settings, bad)
    page = page_of(settings, "2024-03-01", "bad")
    assert headline(page) == "Friday, 1 March 2024: not published"
    assert "Broken: the day has enough events." in page


def test_the_page_of_many_days_counts_those_that_failed(settings: Settings) -> None:
    days = days_of("2024-03-01", 3)
    run = open_run(settings, f"{days[0]}..{days[-1]}")
    for day in days:
        ingest(run, day, good(day, 2 if day == days[1] else 8))
    with pytest.raises(DataError):
        step.run(settings, run)
    assert headline(page_of(settings, f"{days[0]}..{days[-1]}")) == "2 of 3 days published, 1 not"


def test_the_page_loads_nothing_and_marks_missing_hours(settings: Settings) -> None:
    days = days_of("2024-03-04", 16)
    run = open_run(settings, f"{days[0]}..{days[-1]}")
    for number, day in enumerate(days[:-1]):
        ingest(run, day, **a_day(day, number))
    ingest(run, days[-1], **without(days[-1], 15, range(3, 5)))
    step.run(settings, run)
    page = page_of(settings, f"{days[0]}..{days[-1]}")
    parser = Outside()
    parser.feed(page)
    assert parser.found == []
    assert "http" not in page
    missing = re.findall(r'class="missing"[^>]*><title>([^<]*)', page)
    assert missing == [f"{days[-1]} 03:00: 0 events, missing", f"{days[-1]} 04:00: 0 events, missing"]


def test_nothing_a_verdict_writes_names_a_person_or_what_they_typed(settings: Settings) -> None:
    day = "2024-03-01"
    rows = [event("view", at(day), f"i{n}", price=-1.0, user="secret-user", session="secret-session") for n in range(5)]
    rows.append(event("search", at(day), query="secret words", user="secret-user"))
    rows.append({**rows[0], "user_id": None, "event_id": rows[0]["event_id"]})
    run = open_run(settings, day)
    ingest(run, day, rows)
    with pytest.raises(DataError):
        step.run(settings, run)
    folder = run.artifact("validate").path
    assert "Rows that broke a rule" in (folder / "report.html").read_text()
    assert [path for path in _files(folder) if b"secret" in path.read_bytes()] == []


def test_words_out_of_logs_are_escaped(settings: Settings) -> None:
    day = "2024-03-01"
    run = open_run(settings, day)
    ingest(run, day, [*good(day), event("<script>", at(day), "<img src=x>", price=-1.0)])
    with pytest.raises(DataError):
        step.run(settings, run)
    page = page_of(settings, day)
    assert "&lt;img" in page and "<img" not in page and "<script" not in page


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
