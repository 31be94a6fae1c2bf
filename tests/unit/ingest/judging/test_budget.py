"""A day may refuse so much: overall, by one rule, and as rows of other days."""

from __future__ import annotations

import json

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import DataError, SettingsError
from pipeline.core.run import Run

CLEAN = "2026-01-05T10:00:0%Z,anna,v1,seen,lamp%,,9.50,"
HOVER = "2026-01-05T11:00:0%Z,anna,v1,hover,lamp,,1.00,"
NOBODY = "2026-01-05T12:00:00Z,,,seen,lamp,,1.00,"
YESTERDAY = "2026-01-04T10:00:0%Z,anna,v1,seen,lamp%,,9.50,"


def rows(line: str, count: int) -> list[str]:
    return [line.replace("%", str(n)) for n in range(count)]


def counts_of(source, run_id: str = "run-2026-01-05", day: str = "2026-01-05") -> dict:
    run = Run.open(source.settings.store.root, run_id, "UTC")
    return run.artifacts("ingest", "landed")[day].json("counts.json")


def test_a_day_above_its_budget_names_the_worst_rule_keeps_its_quarantine_and_never_lands(source) -> None:
    source.set(quarantine_fail_share=0.5, quarantine_min_rows=3)
    source.write(*rows(CLEAN, 1), *rows(HOVER, 3), NOBODY)
    sentence = r"4 of 5 rows were refused \(80.0%\).*unknown_type \(3.*2026-01-05.csv row 2"
    with pytest.raises(DataError, match=sentence):
        source.ingest()
    assert "4 of 5 rows were refused" in counts_of(source)["over_budget"]
    assert not (source.settings.store.root / "landed" / "2026-01-05.json").exists()
    assert not Run.open(source.settings.store.root, "run-2026-01-05", "UTC").artifacts("ingest")
    # Its artifact is there, so nothing is read again, and it fails again.
    (source.folder / "2026-01-05.csv").touch()
    with pytest.raises(DataError, match=sentence):
        source.ingest(run_id="again")


def test_a_day_above_its_budget_leaves_what_landed_before_and_the_other_days_of_the_run_land(source) -> None:
    source.write(*rows(CLEAN, 2))
    source.ingest(run_id="first")
    record = source.settings.store.root / "landed" / "2026-01-05.json"
    before = record.read_bytes()
    source.set(quarantine_fail_share=0.5, quarantine_min_rows=3)
    source.write(*rows(HOVER, 3))
    source.write("2026-01-06T10:00:00Z,anna,v1,seen,lamp,,9.50,", name="2026-01-06.csv")
    with pytest.raises(DataError, match=r"1 of the 2 days are over their budget, the others landed.*--run both"):
        source.ingest("2026-01-05..2026-01-06", run_id="both")
    assert record.read_bytes() == before
    assert (source.settings.store.root / "landed" / "2026-01-06.json").exists()
    assert list(Run.open(source.settings.store.root, "both", "UTC").artifacts("ingest")) == ["2026-01-06"]


def test_a_few_refused_rows_of_a_tiny_day_do_not_fail_it_but_are_warned_of(source) -> None:
    source.set(quarantine_fail_share=0.2, quarantine_min_rows=3)
    source.write(*rows(CLEAN, 1), NOBODY)
    day = source.ingest()
    assert "WARNING: 50.0% of the rows were refused" in day.report.sentence
    assert day.counts["warnings"] == ["50.0% of the rows were refused, more than ingest.quarantine_warn_share"]
    assert day.counts["over_budget"] == ""


def test_a_rule_has_a_budget_of_its_own_whatever_its_outcome(source) -> None:
    source.set(quarantine_min_rows=2, quarantine_warn_share=1.0, rule_fail_share={"exact_duplicate": 0.4})
    source.write(*rows(CLEAN, 2), *rows(CLEAN, 2))
    # Two of four rows are equal to an earlier one: 50 %.
    sentence = r"rule exact_duplicate took 2 of 4 rows \(50.0%: .*allows it \(40.0%\); first in 2026-01-05.csv row 3"
    with pytest.raises(DataError, match=sentence):
        source.ingest()
    source.set(rule_fail_share={"exact_duplicate": 0.5}, rule_warn_share={"exact_duplicate": 0.4})
    day = source.ingest(run_id="allowed")
    assert day.counts["warnings"] == [
        "rule exact_duplicate took 50.0% of the rows, more than ingest.rule_warn_share allows it"
    ]
    assert day.report.sentence.endswith("allows it.")


@pytest.mark.parametrize("setting", ["rule_warn_share", "rule_fail_share"])
def test_a_budget_for_a_rule_that_is_not_there_names_the_nearest(source, setting: str) -> None:
    source.write(*rows(CLEAN, 1))
    source.set(**{setting: {"exact_duplicates": 0.1}})
    with pytest.raises(
        SettingsError, match=rf"ingest.{setting} names no rule exact_duplicates; did you mean exact_duplicate\?"
    ):
        source.ingest()


def test_a_share_is_at_most_one() -> None:
    with pytest.raises(SettingsError, match=r"ingest.rule_fail_share.torn is 7; input should be less than"):
        settings_module.load(["ingest.rule_fail_share={torn: 7}"])


def test_a_day_most_of_whose_rows_belong_to_other_days_has_a_wrong_zone_or_name(source) -> None:
    source.set(quarantine_min_rows=3)
    source.write(*rows(YESTERDAY, 9), *rows(CLEAN, 1))
    with pytest.raises(
        DataError, match=r"9 of 10 rows belong to other days \(90.0%, 9 to 2026-01-04\).*zone of the profile \(UTC\)"
    ):
        source.ingest()
    assert counts_of(source)["routed_days"] == {"2026-01-04": 9}
    source.set(max_routed_share=0.9)
    assert source.ingest(run_id="allowed").counts["routed"] == 9


def test_a_file_of_a_month_is_never_one_of_the_wrong_day(source, own_profile) -> None:
    own_profile('"{day}.csv"', '"{day:%Y-%m}.csv"\n  file_covers: month')
    source.set(quarantine_min_rows=1, max_routed_share=0.0)
    source.write(*rows(YESTERDAY, 9), *rows(CLEAN, 1), name="2026-01.csv")
    day = source.ingest()
    # The other nine rows are those of another day, and are counted with it.
    assert (day.counts["rows"], day.counts["clean"], day.counts["routed"]) == (1, 1, 0)
    assert json.loads((source.settings.store.root / "landed" / "2026-01-05.json").read_text())["routed_days"] == {}
