"""After a fix, only the days that hold quarantined rows are read again."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError, MissingInputError, UsageError
from pipeline.core.run import Run
from pipeline.ingest.judging.rules import OUTCOMES
from pipeline.ingest.quarantine import refused_days, told
from tests.unit.ingest.conftest import HEADER

FIRST, BAD, LAST = "2026-01-05", "2026-01-06", "2026-01-07"
DAYS = f"{FIRST}..{LAST}"


def seen(day: str, n: int, what: str = "seen") -> str:
    return f"{day}T10:00:0{n}Z,anna,v{n},{what},lamp{n},,9.50,"


@pytest.fixture
def shop(source):
    """Three days; on the second the shop said `looked` for three of ten views, a word the profile did not know."""
    source.set(quarantine_min_rows=1, quarantine_fail_share=0.5)
    source.write(*(seen(FIRST, n) for n in range(10)), name=f"{FIRST}.csv")
    late = seen(FIRST, 3).replace("10:00", "11:00")
    rows = [seen(BAD, n, "looked" if n < 3 else "seen") for n in range(10)]
    source.write(*rows, late, name=f"{BAD}.csv")
    source.write(*(seen(LAST, n) for n in range(10)), name=f"{LAST}.csv")
    return source


@pytest.fixture
def fixed(shop, own_profile):
    """The same shop after a night over all its days, its profile mended since."""
    shop.ingest(DAYS, run_id="night")
    own_profile("seen: view,", "seen: view, looked: view,")
    return shop


def replay(source, days: str = DAYS, rule: str = "all", run_id: str = "replay"):
    source.set(replay=rule)
    return source.ingest(days, run_id=run_id)


def partitions(source, run_id: str) -> dict[str, Artifact]:
    return Run.open(source.settings.store.root, run_id, "UTC").artifacts("ingest")


def landed(source, day: str) -> Path:
    return source.settings.store.root / "landed" / f"{day}.json"


def test_a_replay_reads_the_days_with_refused_rows_again_and_leaves_the_rest(fixed, capsys) -> None:
    before = partitions(fixed, "night")
    assert before[BAD].json("counts.json")["quarantined"] == 3
    untouched = {day: landed(fixed, day).read_bytes() for day in (FIRST, LAST)}
    for day in (FIRST, LAST):
        (fixed.folder / f"{day}.csv").unlink()  # whoever looks at the source of these days finds nothing
    capsys.readouterr()
    report = replay(fixed).report
    assert f"replay {BAD}: unknown_type 3 -> 0\n" in capsys.readouterr().out
    after = partitions(fixed, "replay")
    counts = after[BAD].json("counts.json")
    assert (counts["rows"], counts["clean"], counts["quarantined"], counts["routed"]) == (11, 10, 0, 1)
    assert counts["rows"] == sum(counts[name] for name in OUTCOMES)
    assert report.counts["rows"] == 10 + 11 + 10
    # Keys downstream of the other days are the same; the first day's partition holds the second file's late row.
    assert {day: after[day].key for day in (FIRST, LAST)} == {day: before[day].key for day in (FIRST, LAST)}
    assert after[BAD].key != before[BAD].key
    assert {day: landed(fixed, day).read_bytes() for day in (FIRST, LAST)} == untouched
    assert json.loads(landed(fixed, BAD).read_text())["revision"] == 2


def test_a_replay_of_one_rule_reads_only_its_days(fixed) -> None:
    (fixed.folder / f"{BAD}.csv").unlink()
    assert replay(fixed, rule="torn").report.counts["quarantined"] == 3
    with pytest.raises(MissingInputError, match=f"No logs for {BAD}"):
        replay(fixed, rule="unknown_type", run_id="needs-the-file")


def test_a_replay_with_nothing_left_to_mend_does_nothing(fixed) -> None:
    replay(fixed)
    records = {day: landed(fixed, day).read_bytes() for day in (FIRST, BAD, LAST)}
    assert replay(fixed, run_id="again").report.cached
    assert {day: landed(fixed, day).read_bytes() for day in (FIRST, BAD, LAST)} == records


def test_a_replay_reads_a_day_that_never_landed_because_it_was_over_its_budget(shop, own_profile, capsys) -> None:
    shop.set(quarantine_fail_share=0.2)
    with pytest.raises(DataError, match=r"3 of 11 rows were refused.*1 of the 3 days are over their budget"):
        shop.ingest(DAYS, run_id="night")
    own_profile("bought: purchase", "bought: purchase, looked: view")
    capsys.readouterr()
    assert replay(shop).report.counts["quarantined"] == 0
    assert f"replay {BAD}: nothing in quarantine\n" in capsys.readouterr().out
    assert set(partitions(shop, "replay")) == {FIRST, BAD, LAST}


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("unknown_typ", r"There is no rule unknown_typ to replay; did you mean unknown_type\?"),
        ("exact_duplicate", "Rule exact_duplicate quarantines nothing, its rows end as duplicate"),
    ],
)
def test_a_rule_that_cannot_be_replayed_is_refused(fixed, rule: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replay(fixed, rule=rule)


def test_quarantine_is_shown_by_rule_and_row_by_row(fixed) -> None:
    text = "\n".join(told(refused_days(fixed.settings, "night"), limit=1))
    assert "3 days, 3 of 31 rows refused." in text
    assert "| unknown_type | 3 |" in text
    # The first row lies after a header of 41 characters and its line end.
    assert f"unknown_type: {BAD}.csv row 1, byte 42\n" in text
    assert '"what": "looked"' in text
    assert "anna" not in text
    assert "… and 2 more" in text


def test_quarantine_of_a_day_is_that_in_force_and_may_be_asked_by_rule(fixed) -> None:
    day = date.fromisoformat(BAD)
    assert "1 day, 3 of 11 rows refused." in "\n".join(told(refused_days(fixed.settings, day=day)))
    torn = "\n".join(told(refused_days(fixed.settings, "night", day), rule="torn"))
    assert "1 day, 0 of 11 rows refused." in torn
    replay(fixed)
    assert "1 day, 0 of 11 rows refused." in "\n".join(told(refused_days(fixed.settings, day=day)))


def test_quarantine_of_a_day_over_its_budget_is_shown_by_the_run_that_tried(shop) -> None:
    shop.set(quarantine_fail_share=0.2)
    with pytest.raises(DataError):
        shop.ingest(BAD, run_id="night")
    text = "\n".join(told(refused_days(shop.settings, "night")))
    assert text.startswith(f"Over its budget: {BAD}: 3 of 11 rows were refused (27.3%)")


def test_a_refused_row_of_a_parquet_file_is_shown_without_a_byte(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.parquet"\n  format: parquet')
    row = dict(zip(HEADER.split(","), seen(FIRST, 1, "looked").split(","), strict=True))
    pq.write_table(pa.Table.from_pylist([row]), source.folder / f"{FIRST}.parquet")
    source.ingest(FIRST, run_id="night")
    text = "\n".join(told(refused_days(source.settings, "night")))
    assert f"unknown_type: {FIRST}.parquet row 1\n" in text


def test_questions_about_a_quarantine_that_is_not_there_are_refused(fixed) -> None:
    with pytest.raises(UsageError, match="Say whose quarantine: --run RUN, --day DAY, or both"):
        refused_days(fixed.settings)
    with pytest.raises(MissingInputError, match="2026-02-01 never landed"):
        refused_days(fixed.settings, day=date(2026, 2, 1))
    with pytest.raises(UsageError, match=r"There is no rule tron; did you mean torn\?"):
        list(told(refused_days(fixed.settings, "night"), rule="tron"))
