"""The page: what it says first, and what it must never show."""

from __future__ import annotations

import re
from contextlib import nullcontext
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


def test_the_page_of_a_run_marked_as_of_says_that_nothing_was_published(settings: Settings) -> None:
    days, moment = days_of("2024-03-01", 2), at("2024-03-03", "00:00")
    runs = [open_run(settings, f"{days[0]}..{days[1]}", name, as_of=moment, backfill=name == "trial")
            for name in ("trial", "night")]  # fmt: skip
    for run in runs:
        for day in days:
            ingest(run, day, good(day))
        assert not step.run(settings, run).cached
    pages = [page_of(settings, f"{days[0]}..{days[1]}", run.run_id) for run in runs]
    assert [headline(page) for page in pages] == ["All 2 days passed, not published", "All 2 days published"]
    assert ["marked as-of" in page for page in pages] == [True, False]


@pytest.mark.parametrize(
    ("count", "title"), [(8, "passed, not published"), (2, "not published")], ids=["passed", "failed"]
)
def test_a_day_judged_as_of_is_not_published(settings: Settings, count: int, title: str) -> None:
    run = open_run(settings, "2024-03-01", as_of=at("2024-03-02", "00:00"), backfill=True)
    ingest(run, "2024-03-01", good("2024-03-01", count))
    with nullcontext() if count == 8 else pytest.raises(DataError):
        step.run(settings, run)
    assert headline(page_of(settings, "2024-03-01")) == f"Friday, 1 March 2024: {title}"


def test_a_rule_that_every_day_kept_was_judged(settings: Settings) -> None:
    run = open_run(settings, "2024-03-01")
    ingest(run, "2024-03-01", good("2024-03-01"))
    step.run(settings, run)
    rows = re.findall(r"<tr>.*?</tr>", page_of(settings, "2024-03-01"), re.DOTALL)
    for rule in ("an item is told once at a time", "event ids are unique"):
        (row,) = [row for row in rows if rule in row]
        assert "not judged" not in row


def test_the_page_shows_drift_only_where_rules_judge_it(settings: Settings) -> None:
    settings = load([f"store.root={settings.store.root}", "validate.drift_min_rows=2", "validate.min_trailing_days=4"])
    days = days_of("2024-03-04", 5)
    drifts = []
    for n in (4, 5):
        run = open_run(settings, f"{days[0]}..{days[n - 1]}", f"run-{n}")
        for number, day in enumerate(days[:n]):
            ingest(run, day, **a_day(day, number))
        step.run(settings, run)
        drifts.append("PSI <b>" in page_of(settings, f"{days[0]}..{days[n - 1]}", f"run-{n}"))
    # The fourth day has three to be held against, one too few.
    assert drifts == [False, True]


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
