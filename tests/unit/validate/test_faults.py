"""Faults of a whole day, each planted into one that would pass: the rules made for it speak, and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

import pytest

from pipeline.core.errors import DataError
from pipeline.core.settings import Settings, load
from pipeline.validate import step
from pipeline.validate.suite import load_suites
from tests.fixtures.ingested import Row, at, days_of, event, ingest, item, open_run
from tests.unit.validate.test_suite import SPOILT

GOOD_DAYS = 21
FIRST = "2024-03-04"
PRICES = (1.5, 3.0, 7.0, 15.0, 30.0)


def a_day(day: str, number: int) -> dict:
    """Returns 25 visitors in each hour, each with one event: of 20, 2 search, 3 fill a cart, 2 buy and 13 view.

    A few views more, as many as the day's number, make no two days alike.
    """
    rows = [_event(day, hour, visitor) for hour in range(24) for visitor in range(25)]
    rows += [event("view", at(day, f"12:{n:02}:30"), "i1", price=3.0, user="u", session="s") for n in range(number)]
    return {"events": rows, "items": [_item(day, n) for n in range(20)]}


def _event(day: str, hour: int, visitor: int) -> Row:
    place, moment = hour * 25 + visitor, at(day, f"{hour:02}:{visitor * 2:02}")
    kind = ("search",) * 2 + ("cart",) * 3 + ("purchase",) * 2 + ("view",) * 13
    who = {"user": f"u{place}", "session": f"s{place}"}
    if kind[place % 20] == "search":
        return event("search", moment, query="red shoes"[: 3 + place % 7], **who)
    quantity = 1 + place % 2 if kind[place % 20] in ("cart", "purchase") else None
    return event(kind[place % 20], moment, f"i{place % 20}", price=PRICES[place % 5], quantity=quantity, **who)


def _item(day: str, number: int) -> Row:
    return item(f"i{number}", at(day, "00:00"), category=f"{'ab'[number % 2]}/c", price=PRICES[number % 5])


def changed(day: str, number: int, **fields: Callable[[Row], object]) -> dict:
    whole = a_day(day, number)
    return {**whole, "events": [{**row, **{k: f(row) for k, f in fields.items()}} for row in whole["events"]]}


def without(day: str, number: int, hours: range) -> dict:
    whole = a_day(day, number)
    return {**whole, "events": [row for row in whole["events"] if row["event_time"].hour not in hours]}


def half(day: str, number: int) -> dict:
    whole = a_day(day, number)
    rows = whole["events"]
    return {**whole, "events": Random(7).sample(rows, len(rows) // 2)}


def items_with(day: str, number: int, **fields: Callable[[Row], object]) -> dict:
    whole = a_day(day, number)
    return {**whole, "items": [{**row, **{k: f(row) for k, f in fields.items()}} for row in whole["items"]]}


def dearer(row: Row) -> float | None:
    return row["price"] and row["price"] * 100


FAULTS: tuple[tuple[str, Callable[[str, int], dict], set[str]], ...] = (
    ("nothing", a_day, set()),
    ("half the events are lost", half, {"volume_is_within_the_usual_band"}),
    (
        "prices are in cents",
        lambda day, n: changed(day, n, price=dearer),
        {"prices_are_in_the_usual_money", "distributions_do_not_drift"},
    ),
    (
        "catalogue prices are in cents",
        lambda day, n: items_with(day, n, price=dearer),
        {"catalogue_prices_are_in_the_usual_money", "catalogue_distributions_do_not_drift"},
    ),
    (
        "the catalogue lost its categories",
        lambda day, n: items_with(day, n, category=lambda row: None),
        {
            "descriptions_do_not_vanish",
            "the_catalogue_does_not_lose_its_descriptions",
            "catalogue_distributions_do_not_drift",
            "distributions_do_not_drift",
        },
    ),
    ("nobody is logged in", lambda day, n: changed(day, n, user_id=lambda row: None), {"nulls_do_not_spread"}),
    (
        "purchases come as views",
        lambda day, n: changed(day, n, event_type=lambda row: row["event_type"].replace("purchase", "view")),
        # A tenth of the events moves to another type.
        {
            "shares_of_event_types_are_the_usual_ones",
            "no_event_type_is_lost_or_multiplied",
            "distributions_do_not_drift",
        },
    ),
    ("the day is a copy of the first", lambda day, n: a_day(day, 0), {"the_day_is_no_copy_of_another"}),
    # One hour of 24 is too little to change how visits lie over the clock: 1/24 ln(1/24 / (0.5 / 600)) is 0.16.
    ("an hour is lost", lambda day, n: without(day, n, range(9, 10)), {"no_hour_is_missing"}),
    (
        "the night is lost",
        lambda day, n: without(day, n, range(8)),
        {
            "no_hour_is_missing",
            "no_part_of_the_day_is_missing",
            "distributions_do_not_drift",
        },
    ),
)


def test_a_planted_fault_breaks_the_rules_made_for_it_and_no_others(settings: Settings) -> None:
    settings = load([f"store.root={settings.store.root}", "validate.drift_min_rows=20"])
    days = days_of(FIRST, GOOD_DAYS + len(FAULTS))
    run = open_run(settings, f"{days[0]}..{days[-1]}")
    makes = [a_day] * GOOD_DAYS + [make for _, make, _ in FAULTS]
    for number, (day, make) in enumerate(zip(days, makes, strict=True)):
        ingest(run, day, **make(day, number))
    with pytest.raises(DataError):
        step.run(settings, run)
    found: dict[str, set[str]] = {day: set() for day in days}
    for failure in run.artifact("validate").json("verdict.json")["failures"]:
        found[failure["day"]].add(failure["expectation"])
    assert {day: broken for day, broken in found.items() if day < days[GOOD_DAYS] and broken} == {}
    told = {what: found[day] for day, (what, *_) in zip(days[GOOD_DAYS:], FAULTS, strict=True)}
    assert told == {what: wanted for what, _, wanted in FAULTS}


def test_every_shipped_rule_has_a_day_that_breaks_it(settings: Settings) -> None:
    planted = set().union(*(wanted for *_, wanted in FAULTS), *(wanted for _, wanted in SPOILT))
    # Freshness speaks of the newest day alone, the catalogue's columns of another file; each has its own test.
    others = {"the_newest_day_is_fresh", "catalogue_columns_and_types_are_the_canonical_ones"}
    assert {rule.name for rule in load_suites(settings)} - planted == others


def test_an_hour_that_has_not_ended_by_the_as_of_time_is_not_missing(settings: Settings) -> None:
    days = days_of(FIRST, 15)
    history = open_run(settings, f"{days[0]}..{days[-2]}", "history")
    for number, day in enumerate(days[:-1]):
        ingest(history, day, **a_day(day, number))
    step.run(settings, history)
    run = open_run(settings, days[-1], as_of=at(days[-1], "12:00") + timedelta(minutes=30))
    ingest(run, days[-1], **without(days[-1], 0, range(12, 24)))
    step.run(settings, run)
    broken = {failure["expectation"] for failure in run.artifact("validate").json("verdict.json")["failures"]}
    assert "no_hour_is_missing" not in broken
