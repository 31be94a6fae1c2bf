"""The shipped rules, each broken by a day of its own; and what is said of a suite that is none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.schema import EVENT
from pipeline.core.settings import Settings, load
from pipeline.validate import step
from pipeline.validate.suite import load_suite, suite_file
from tests.fixtures.ingested import Row, at, days_of, event, ingest, item, open_run

FIRST = "2024-03-01"


def good(day: str, count: int = 8) -> list[Row]:
    return [event("view", at(day) + timedelta(minutes=n), f"i{n}", price=1.0) for n in range(count)]


def spoilt(day: str, **fields: object) -> list[Row]:
    rows = good(day)
    rows[0] = {**rows[0], **fields}
    return rows


def catalogue(day: str, **fields: object) -> list[Row]:
    rows = [item(f"i{n}", at(day, "00:00")) for n in range(8)]
    rows[0] = {**rows[0], **fields}
    return rows


LEFT_OUT = {"few_rows_of_catalogue_files_are_left_out"}


def left_out(**rows: int) -> dict[str, int]:
    return {"read": 100, "torn": 0, "other_property": 0, "no_item": 0, "bad_time": 0, **rows}


# What each day holds instead of eight good views, and the rules it breaks. Volume may lie between 0.6 and 3 times the
# median of the days before it, which is 8 throughout.
SPOILT: tuple[tuple[Callable[[str], dict], set[str]], ...] = (
    (lambda day: {"events": good(day)}, set()),
    (lambda day: {"events": good(day)}, set()),
    (
        lambda day: {"events": [{**row, "price": "1"} for row in good(day)], "columns": {**EVENT, "price": "string"}},
        {"columns_and_types_are_the_canonical_ones"},
    ),
    (lambda day: {"events": spoilt(day, event_id=None)}, {"what_every_event_has_is_never_null"}),
    (lambda day: {"events": [*good(day), good(day)[0]]}, {"event_ids_are_unique"}),
    (lambda day: {"events": spoilt(day, event_type="look")}, {"event_type_is_known"}),
    (lambda day: {"events": spoilt(day, event_type=None)}, {"event_type_is_known"}),
    (lambda day: {"events": spoilt(day, user_id=None)}, {"somebody_did_it"}),
    (lambda day: {"events": spoilt(day, item_id=None)}, {"item_events_name_an_item"}),
    (lambda day: {"events": [*good(day), event("search", at(day), query="")]}, {"searches_carry_their_text"}),
    (lambda day: {"events": spoilt(day, event_time=at(day, "00:00"))}, set()),
    (
        lambda day: {"events": spoilt(day, event_time=at(day, "00:00") + timedelta(days=1))},
        {"events_lie_within_their_day"},
    ),
    (lambda day: {"events": spoilt(day, event_time=None)}, {"what_every_event_has_is_never_null"}),
    (lambda day: {"events": spoilt(day, price=-0.01)}, {"prices_are_in_range"}),
    (lambda day: {"events": spoilt(day, price=float("nan"))}, {"prices_are_in_range"}),
    (lambda day: {"events": spoilt(day, price=2e6)}, {"prices_are_in_range"}),
    (lambda day: {"events": good(day), "items": catalogue(day, item_id=None)}, {"every_row_names_its_item_and_moment"}),
    (
        lambda day: {"events": good(day), "items": [*catalogue(day), catalogue(day)[0]]},
        {"an_item_is_told_once_at_a_time"},
    ),
    (
        lambda day: {"events": good(day), "items": catalogue(day, price=-1.0)},
        {"catalogue_prices_are_in_range", "few_items_are_free"},
    ),
    (
        lambda day: {"events": good(day), "items": [{**row, "in_stock": False} for row in catalogue(day)]},
        {"something_is_in_stock"},
    ),
    (lambda day: {"events": good(day), "items": catalogue(day)[:1]}, {"the_catalogue_keeps_its_size"}),
    (lambda day: {"events": good(day), "late": 3}, {"few_events_came_late"}),
    (lambda day: {"events": spoilt(day, event_type="purchase", quantity=0)}, {"moved_quantities_are_in_range"}),
    (lambda day: {"events": good(day, 4)}, {"volume_is_not_far_below_the_trailing_days"}),
    (
        lambda day: {"events": good(day, 2)},
        {"the_day_has_enough_events", "volume_is_not_far_below_the_trailing_days"},
    ),
    (lambda day: {"events": good(day, 25)}, {"volume_is_not_far_above_the_trailing_days"}),
    # Two of eight events are on n1 and n2, which no catalogue has named until the next day does.
    (
        lambda day: {
            "events": [*good(day, 6), event("view", at(day), "n1"), event("view", at(day), "n2")],
            "items": [],
        },
        {"items_are_in_the_catalogue"},
    ),
    (lambda day: {"events": good(day), "items": [item(f"n{n}", at(day)) for n in range(8)]}, set()),
    # 2 of 10 raw rows are more than 0.1, 6 of 14 more than 0.4 too.
    (lambda day: {"events": good(day), "quarantined": 2}, {"few_rows_are_quarantined"}),
    (
        lambda day: {"events": good(day), "quarantined": 6},
        {"few_rows_are_quarantined", "not_too_many_rows_are_quarantined"},
    ),
    (lambda day: {"events": good(day), "clean": 7}, {"every_raw_row_is_accounted_for"}),
    # 2 of 100 rows are more than a hundredth; rows of properties nobody asked for are none of them.
    (lambda day: {"events": good(day), "catalogue_rows": left_out(torn=1, bad_time=1)}, LEFT_OUT),
    (lambda day: {"events": good(day), "catalogue_rows": left_out(no_item=1, other_property=90)}, set()),
    (lambda day: {"events": spoilt(day, event_time=at(day, "22:00"))}, {"no_event_is_after_the_as_of_time"}),
)


def settings_for(settings: Settings, *assignments: str) -> Settings:
    return load([f"store.root={settings.store.root}", "validate.min_rows=3", *assignments])


def test_a_rule_about_a_day_alone_is_broken_by_the_day_made_to_break_it_and_by_no_other(settings: Settings) -> None:
    limits = ("validate.min_trailing_days=2", "validate.volume_low_ratio=0.6", "validate.volume_high_ratio=3")
    shares = ("ingest.quarantine_warn_share=0.1", "ingest.quarantine_fail_share=0.4", "ingest.quarantine_min_rows=1")
    settings = settings_for(settings, *limits, *shares)
    days = days_of(FIRST, len(SPOILT))
    run = open_run(settings, f"{days[0]}..{days[-1]}", as_of=at(days[-1], "21:00"))
    for day, (make, _) in zip(days, SPOILT, strict=True):
        ingest(run, day, **make(day))
    with pytest.raises(DataError):
        step.run(settings, run)
    found: dict[str, set[str]] = {day: set() for day in days}
    for failure in run.artifact("validate").json("verdict.json")["failures"]:
        found[failure["day"]].add(failure["expectation"])
    assert found == {day: wanted for day, (_, wanted) in zip(days, SPOILT, strict=True)}


def test_age_is_counted_from_the_newest_event_without_the_closed_days_after_it(settings: Settings) -> None:
    settings = settings_for(settings, "validate.max_age_hours=12")
    run = open_run(settings, "2024-03-01..2024-03-03")
    ingest(run, "2024-03-01", good("2024-03-01"))
    for day in ("2024-03-02", "2024-03-03"):
        ingest(run, day, closed=True)
    report = step.run(settings, run)
    # The newest event is of 12:07 on the 1st, 59 h 53 min before the 4th; two closed days leave 11.88 hours.
    assert report.counts["warnings"] == 0
    strict = settings_for(settings, "validate.max_age_hours=11")
    assert step.run(strict, run).verdict == "pass"
    (warning,) = run.artifact("validate").json("verdict.json")["failures"]
    assert (warning["day"], warning["observed"], warning["severity"]) == ("2024-03-01", 11.88, "warn")


def test_the_age_of_a_day_that_a_closed_one_opened_again_says_nothing(settings: Settings) -> None:
    settings = settings_for(settings, "validate.max_age_hours=12")
    run = open_run(settings, "2024-03-05")
    ingest(run, "2024-03-05", closed=True)
    ingest(run, "2024-03-01", good("2024-03-01"), late=1)
    step.run(settings, run)
    broken = {f["expectation"] for f in run.artifact("validate").json("verdict.json")["failures"]}
    assert "the_newest_day_is_fresh" not in broken


def test_few_refused_rows_are_not_worth_a_word(settings: Settings) -> None:
    # Ingest lets a day of fewer than 20 refused rows through, whatever their share; so does its judge.
    settings = settings_for(settings)
    run = open_run(settings, FIRST)
    ingest(run, FIRST, good(FIRST), quarantined=19)
    assert step.run(settings, run).counts["warnings"] == 0


def test_a_failed_schema_says_in_words_what_differs(settings: Settings) -> None:
    settings = settings_for(settings)
    run = open_run(settings, FIRST)
    columns = {**{name: kind for name, kind in EVENT.items() if name != "query"}, "quantity": "string", "x": "int64"}
    ingest(run, FIRST, [{**row, "quantity": "1"} for row in good(FIRST)], columns=columns)
    with pytest.raises(
        DataError, match="observed query is missing; x is unknown; quantity is string, expected at most 0"
    ):
        step.run(settings, run)


def test_ones_own_suite_is_used_and_keyed_by_its_bytes(settings: Settings, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    rule = "- {name: few, metric: rows, column: '*', at_most: %d, severity: fail, says: Few.}\n"
    own.write_text(rule % 3)
    settings = settings_for(settings, f"validate.suite={own}")
    run = open_run(settings, FIRST)
    ingest(run, FIRST, good(FIRST))
    with pytest.raises(DataError, match="few on column \\* observed 8, expected at most 3"):
        step.run(settings, run)
    own.write_text(rule % 9)
    assert step.run(settings, run).verdict == "pass"


BAD_SUITES = {
    "rules: [": "not YAML",
    "{}": "expected a list of rules",
    "- 3": "rule 1 is 3",
    "- {name: a, metric: row, column: '*', at_most: 1, severity: fail, says: s}": "no metric 'row'; known is rows",
    "- {name: a, metric: rows, column: '*', at_most: 1, severity: bad, says: s}": r"rule 1 \(a\): severity is wrong",
    "- {name: a, metric: rows, column: '*', at_most: many, severity: fail, says: s}": "at_most is wrong",
    "- {name: a, metric: rows, column: '*', severity: fail, says: s}": "nothing could fail it",
    "- {name: a, metric: rows, column: '*', at_least: $validate.rows, severity: fail, says: s}": "no setting valid",
    "- {name: a, metric: rows, colum: '*', at_least: 1, severity: fail, says: s}": "colum",
    "- &r {name: a, metric: rows, column: '*', at_least: 1, severity: fail, says: s}\n- *r": "two rules are called a",
    "- {name: a, metric: nulls, column: prise, at_most: 1, severity: fail, says: s}": "no column 'prise'; known is",
    "- {name: a, metric: psi, column: user_id, at_most: 1, severity: fail, says: s}": "psi has no column 'user_id'",
    "- {name: a, metric: outside_range, column: item_id, lowest: 1, at_most: 1, severity: fail, says: s}":
        "outside_range has no column 'item_id'; known is price, quantity",
    "- {name: a, metric: outside_range, column: event_time, lowest: 1, at_most: 1, severity: fail, says: s}":
        "outside_range has no column 'event_time'; known is price, quantity",
    "- {name: a, metric: blanks, column: price, at_most: 1, severity: fail, says: s}":
        "blanks has no column 'price'; known is event_id, ",
    "- {name: a, metric: outside_set, column: price, values: ['1'], at_most: 1, severity: fail, says: s}":
        "outside_set has no column 'price'; known is event_id, ",
    "- {name: a, metric: rows, on: price, column: '*', at_most: 1, severity: fail, says: s}":
        r"rule 1 \(a\): the field True is no name; YAML reads",
    "- {name: a, metric: outside_set, column: query, at_most: 1, severity: fail, says: s}": "outside_set needs values",
    "- {name: a, metric: outside_range, column: price, at_most: 1, severity: fail, says: s}": "needs lowest or highest",
    "- {name: a, metric: nulls, column: price, among: [buy], at_most: 1, severity: fail, says: s}": "buy is none here",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_SUITES)
def test_a_suite_that_is_none_is_refused_in_one_sentence(settings: Settings, tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=BAD_SUITES[text]) as refusal:
        load_suite(path, settings)
    assert str(path) in str(refusal.value)


def test_an_unknown_suite_names_those_there_are(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="'evnts': no such file, and shipped suites are catalogue, events"):
        suite_file(settings_for(settings, "validate.suite=evnts"))
