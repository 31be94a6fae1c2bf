from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from pipeline.core.errors import DataError, UsageError
from pipeline.core.pseudonyms import pseudonyms
from pipeline.core.settings import Settings
from pipeline.ingest.day import require_equation
from pipeline.ingest.judging.rules import rules_of
from pipeline.ingest.profiles.profile import load_profile
from pipeline.store.erasures import Erasures

DAY = "2026-01-05"
CLEAN = "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,"


# A row, the rule that takes it, and where it ends. `%` is a person of its own for each row.
CASES = [
    ("2026-01-05T10:00:00Z,p%,v%,seen,lamp", "torn", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,seen,lamp,,9.50,,,", "torn", "quarantined"),
    ('2026-01-05T10:00:00Z,p%,v%,seen,"lamp,,9.50,', "torn", "quarantined"),
    ("2026-01-05T10:00:00Z,,,seen,lamp,,9.50,", "no_person", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,hover,lamp,,9.50,", "unknown_type", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,,lamp,,9.50,", "unknown_type", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,seen,,,9.50,", "no_item", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,asked,,,,", "no_query", "quarantined"),
    (",p%,v%,seen,lamp,,9.50,", "bad_time", "quarantined"),
    ("2026-02-31T10:00:00Z,p%,v%,seen,lamp,,9.50,", "bad_time", "quarantined"),
    ("2026-01-06T00:00:00Z,p%,v%,seen,lamp,,9.50,", "future_time", "quarantined"),
    ("2025-12-05T23:59:59Z,p%,v%,seen,lamp,,9.50,", "too_late", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,seen,lamp,,-1,", "bad_price", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,seen,lamp,,nan,", "bad_price", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,seen,lamp,,inf,", "bad_price", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,seen,lamp,,cheap,", "bad_price", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,bought,lamp,,9.50,0", "bad_quantity", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,bought,lamp,,9.50,-2", "bad_quantity", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,bought,lamp,,9.50,1.5", "bad_quantity", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,bought,lamp,,9.50,1e300", "bad_quantity", "quarantined"),
    ("2026-01-05T10:00:00Z,p%,v%,bought,POST,,9.50,1", "no_goods", "excluded"),
    ("2026-01-04T23:59:59Z,p%,v%,seen,lamp,,9.50,", "other_day", "routed"),
    ("2025-12-06T00:00:00Z,p%,v%,seen,lamp,,9.50,", "other_day", "routed"),
    ("2026-01-05T10:00:00Z,p%,v%,back,lamp,,9.50,-2", None, "clean"),
    ("2026-01-05T10:00:00Z,p%,v%,bought,lamp,,,", None, "clean"),
    ("2026-01-05 10:00:00 UTC,,v%,asked,,red lamp,,", None, "clean"),
]


def test_each_row_ends_in_one_outcome_by_one_rule(source) -> None:
    source.write(*[line.replace("%", str(n)) for n, (line, _, _) in enumerate(CASES)])
    day = source.ingest()
    refused = {row["row_number"]: row["rule"] for row in day.rows("quarantine")}
    assert refused == {n: rule for n, (_, rule, outcome) in enumerate(CASES, 1) if outcome == "quarantined"}
    assert day.rules == Counter(rule for _, rule, _ in CASES if rule)
    assert day.counts["rows"] == len(CASES)
    for outcome, count in Counter(outcome for _, _, outcome in CASES).items():
        assert day.counts[outcome] == count


def test_every_rule_has_a_name_of_its_own_and_a_line_of_documentation() -> None:
    for name in ("generated", "online_retail", "rees46"):
        rules = rules_of(load_profile(name))
        assert len({rule.name for rule in rules}) == len(rules)
        assert all(rule.doc.endswith(".") and rule.outcome != "clean" for rule in rules)


def test_an_equal_row_is_a_duplicate_and_the_first_one_stays(source) -> None:
    source.write(CLEAN, CLEAN, CLEAN)
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (1, {"exact_duplicate": 2})


def test_the_same_event_within_the_window_is_one_event_and_another_quantity_is_another_event(source) -> None:
    source.write(
        "2026-01-05T10:00:00Z,anna,v1,bought,lamp,,9.50,1",
        "2026-01-05T10:00:01Z,anna,v1,bought,lamp,,9.50,1",  # an echo: one second later
        "2026-01-05T10:00:03Z,anna,v1,bought,lamp,,9.50,1",  # two seconds after the echo: a new event
        "2026-01-05T10:00:03Z,anna,v1,bought,lamp,,9.50,2",  # another quantity
        "2026-01-05T10:00:03Z,bert,v2,bought,lamp,,9.50,1",  # another person
    )
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (4, {"near_duplicate": 1})


def test_the_same_file_delivered_twice_counts_every_row_once(source, own_profile) -> None:
    own_profile("{day}.csv", "{day}*.csv")
    rows = [CLEAN, "2026-01-05T11:00:00Z,anna,v1,hover,lamp,,9.50,"]
    source.write(*rows)
    source.write(*rows, name="2026-01-05-again.csv")
    day = source.ingest()
    # Four rows: one clean, one refused, and the second copy of each a duplicate.
    assert (day.counts["rows"], day.counts["clean"], day.counts["quarantined"], day.counts["duplicate"]) == (
        4,
        1,
        1,
        1 + 1,
    )


def test_a_session_faster_than_people_is_a_robot_and_a_busy_page_is_not(source) -> None:
    # 60 views in 20 seconds are 180 a minute; the limit is 60 a minute from 50 events on.
    robot = [f"2026-01-05T10:00:{n // 3:02}Z,,bot,seen,sku{n},,1.00," for n in range(60)]
    # The same 60 items merely shown in one moment, and looked at once.
    person = [f"2026-01-05T10:00:00Z,,eve,shown,sku{n},,1.00," for n in range(60)]
    source.write(*robot, *person, "2026-01-05T10:00:09Z,,eve,seen,sku1,,1.00,")
    day = source.ingest()
    assert (day.counts["robot"], day.counts["clean"], day.rules) == (60, 61, {"robot_rate": 60})


def test_robots_are_not_judged_where_a_session_has_no_pace(source, own_profile) -> None:
    own_profile("  exclude:", "  judge_robots: false\n  exclude:")
    source.write(*[f"2026-01-05T10:00:00Z,anna,v1,bought,sku{n},,1.00,1" for n in range(60)])
    assert source.ingest().counts["clean"] == 60


def test_rows_later_than_the_as_of_time_come_from_the_future(source) -> None:
    source.write(CLEAN, "2026-01-05T12:00:00Z,anna,v1,seen,mug,,1.00,")
    day = source.ingest(as_of=datetime(2026, 1, 5, 11, tzinfo=UTC))
    assert (day.counts["clean"], day.rules) == (1, {"future_time": 1})


def test_a_lost_row_is_noticed() -> None:
    outcomes = {"clean": 1, "quarantined": 1, "duplicate": 0, "robot": 0, "excluded": 0, "routed": 0}
    require_equation(datetime(2026, 1, 5).date(), 2, outcomes, {"torn": 1})
    with pytest.raises(DataError, match="3 rows were read but 1 clean"):
        require_equation(datetime(2026, 1, 5).date(), 3, outcomes, {"torn": 1})


def test_quarantine_says_where_a_row_lies_and_hides_the_person(source) -> None:
    source.write(CLEAN, "2026-01-05T11:00:00Z,anna,v1,hover,lamp,,9.50,")
    (row,) = source.ingest().rows("quarantine")
    whole = (source.folder / "2026-01-05.csv").read_bytes()
    assert whole[row["byte_offset"] :].startswith(b"2026-01-05T11:00:00Z,anna")
    assert (row["rule"], row["source_file"], row["row_number"]) == ("unknown_type", "2026-01-05.csv", 2)
    told = json.loads(row["row"])
    assert (told["what"], told["sku"], told["cost"]) == ("hover", "lamp", "9.50")
    assert "anna" not in row["row"]
    assert len(told["who"]) == len(told["visit"]) == 64 + 1 + 8


def test_rows_of_another_day_are_kept_for_it_and_keep_their_id(source) -> None:
    late = "2026-01-04T10:00:00Z,anna,v1,seen,lamp,,9.50,"
    source.write(late)
    source.write(late, name="2026-01-04.csv")
    (routed,) = source.ingest().rows("routed")
    source.profile.write_text(source.profile.read_text().replace("[sunday]", "[]"))
    (at_home,) = source.ingest("2026-01-04").rows("events")
    assert routed == at_home


def test_the_shops_midnight_parts_days(source, settings: Settings) -> None:
    shop = settings.shop.model_copy(update={"timezone": "America/New_York"})
    source.settings = source.settings.model_copy(update={"shop": shop})
    # Midnight in New York is 05:00 UTC in January.
    source.write("2026-01-05T04:59:50Z,anna,v1,seen,lamp,,1.00,", "2026-01-05T05:00:00Z,anna,v1,seen,lamp,,1.00,")
    day = source.ingest()
    assert (day.counts["routed"], day.counts["clean"]) == (1, 1)
    assert day.rows("events")[0]["event_time"] == datetime(2026, 1, 5, 5, tzinfo=UTC)


def test_rows_from_before_the_shop_opened_are_refused(source, own_profile) -> None:
    own_profile("  closed_weekdays: [sunday]", "  opened: 2026-01-04")
    # The shop opened at midnight of 4 January in the profile's zone, which is UTC.
    source.write(
        "2026-01-03T23:59:59Z,anna,v1,seen,lamp,,9.50,",
        "2026-01-04T00:00:00Z,anna,v1,seen,lamp,,9.50,",
        "2025-11-01T00:00:00Z,anna,v1,seen,lamp,,9.50,",  # too late as well: the earlier rule says why
    )
    day = source.ingest()
    assert (day.counts["routed"], day.rules) == (1, {"before_shop": 2, "other_day": 1})


def test_a_stated_offset_must_be_the_zones_at_that_moment_where_the_profile_says_so(source, own_profile) -> None:
    times = "  time: {zone: Europe/Berlin, stated_offset: must_match}\n  exclude:"
    own_profile("  exclude:", times)
    # Berlin is an hour ahead of UTC in January, two in July.
    source.write(
        "2026-01-05T10:00:00+01:00,anna,v1,seen,lamp,,1.00,",
        "2026-01-05T10:00:00+02:00,anna,v1,seen,mug,,1.00,",
        "2026-01-05T10:00:00Z,anna,v1,seen,cup,,1.00,",
        "2026-01-05T10:00:00,anna,v1,seen,bowl,,1.00,",  # states none
    )
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (2, {"wrong_zone": 2})
    assert {row["event_time"].hour for row in day.rows("events")} == {9}


def test_a_stated_offset_is_believed_otherwise(source, own_profile) -> None:
    own_profile("  exclude:", "  time: {zone: Europe/Berlin}\n  exclude:")
    source.write("2026-01-05T10:00:00+02:00,anna,v1,seen,lamp,,1.00,")
    assert source.ingest().rows("events")[0]["event_time"].hour == 8


def at(seconds: float) -> str:
    return f"2026-01-05T{10 + int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{seconds % 60:06.3f}Z"


def test_a_session_as_regular_as_a_clock_is_a_robot_and_a_busy_one_or_one_moment_is_not(source) -> None:
    source.set(robot_min_events=5, robot_min_gap_variation=0.05)
    # Gaps of 30.0, 30.0, 31.0, 30.0 seconds: mean 30.25, deviation 0.433, their ratio 0.014.
    clock = [f"{at(s)},,clock,seen,sku{n},,1.00," for n, s in enumerate((0, 30, 60, 91, 121))]
    # Gaps of 10, 50, 20, 40 seconds: mean 30, deviation 15.8, their ratio 0.53.
    eve = [f"{at(s)},,eve,seen,sku{n},,1.00," for n, s in enumerate((0, 10, 60, 80, 120))]
    # As regular, but too short to tell; what it was shown is no act.
    short = [f"{at(s)},,short,seen,sku{n},,1.00," for n, s in enumerate((0, 30, 60, 90))]
    shown = [f"{at(120)},,short,shown,sku{n},,1.00," for n in range(5)]
    source.write(*clock, *eve, *short, *shown)
    day = source.ingest()
    assert (day.counts["robot"], day.rules) == (5, {"robot_regularity": 5})
    source.set(robot_min_gap_variation=0.0)
    assert source.ingest(run_id="off").counts["robot"] == 0


def test_acts_of_one_moment_have_no_gaps_to_be_regular(source) -> None:
    source.set(robot_min_events=5, robot_events_per_minute=1000.0)
    source.write(*[f"{at(0)},,order,bought,sku{n},,1.00,1" for n in range(5)])
    assert source.ingest().counts["robot"] == 0


def test_what_test_accounts_do_is_no_behaviour(source, own_profile) -> None:
    own_profile("  exclude:", "  test_accounts:\n    - {column: who, matches: '@shop[.]example$'}\n  exclude:")
    source.write(
        "2026-01-05T10:00:00Z,bot@shop.example,v1,seen,lamp,,1.00,",
        "2026-01-05T10:00:00Z,bot@shop.example,v1,hover,lamp,,1.00,",  # excluded before its type is looked at
        "2026-01-05T10:00:00Z,anna@shop.example.org,v2,seen,lamp,,1.00,",
    )
    day = source.ingest()
    assert (day.counts["excluded"], day.counts["clean"], day.rules) == (2, 1, {"test_account": 2})


def test_events_on_items_the_catalogue_lacks_are_kept_or_refused(source, own_profile) -> None:
    own_profile("calendar:", 'catalogue:\n  files: "items-{day}.csv"\n  columns: {item_id: sku}\ncalendar:')
    source.write("lamp", name=f"items-{DAY}.csv", header="sku")
    source.write(CLEAN, CLEAN.replace("lamp", "mug"), "2026-01-05T10:00:00Z,anna,v1,asked,,red lamp,,")
    assert source.ingest(run_id="kept").counts["clean"] == 3
    source.set(unknown_items="quarantine")
    day = source.ingest(run_id="refused")
    assert (day.counts["clean"], day.rules) == (2, {"unknown_item": 1})


def test_unknown_items_cannot_be_refused_without_a_catalogue(source) -> None:
    source.set(unknown_items="quarantine")
    source.write(CLEAN)
    with pytest.raises(UsageError, match=r"ingest.unknown_items is quarantine, but the profile .* names no catalogue"):
        source.ingest()


def test_the_rows_of_the_erased_are_taken_before_anything_of_them_is_kept(source) -> None:
    source.write(
        CLEAN,
        "2026-01-05T11:00:00Z,anna,v2,hover,lamp,,9.50,",  # would be quarantined, pseudonym and all
        "2026-01-05T11:00:00Z,,v1,seen,mug,,9.50,",  # nameless, in a session of hers
        "2026-01-05T11:00:00Z,bert,v1,seen,mug,,9.50,",  # another person in the same session stays
    )
    erasures = Erasures.open(source.settings)
    anna, session = (pseudonyms(raw, source.settings.secrets) for raw in ("anna", "v1"))
    erasures.begin(anna, session, by="anna")
    day = source.ingest()
    assert (day.counts["excluded"], day.counts["clean"], day.rules) == (3, 1, {"erased": 3})
    assert day.rows("quarantine") == []
