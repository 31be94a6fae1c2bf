"""The rules a row must pass, as a table: first match wins, and every row ends in exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import ibis
import ibis.expr.types as ir

from pipeline.core.errors import UsageError
from pipeline.core.schema import EVENT
from pipeline.core.settings import Ingest
from pipeline.ingest.batches import patterns
from pipeline.ingest.profile import Exclusion, Profile

Outcome = Literal["clean", "quarantined", "duplicate", "robot", "excluded", "routed"]
OUTCOMES: tuple[Outcome, ...] = ("clean", "quarantined", "duplicate", "robot", "excluded", "routed")
FIRST = ("source_file", "row_number")


@dataclass(frozen=True)
class Rule:
    """One reason a row is not clean.

    Attributes:
        when: the rows concerned; `rule` is null for rows no earlier rule took.
        doc: one line for the documentation.
    """

    name: str
    outcome: Outcome
    when: Callable[[ir.Table, Ingest], ir.BooleanValue]
    doc: str


def _repeated(rows: ir.Table, _: Ingest) -> ir.BooleanValue:
    same = [name for name in rows.columns if name.startswith("raw_")]
    window = ibis.window(group_by=[rows.rule.isnull(), *(rows[n] for n in same)], order_by=[rows[n] for n in FIRST])
    return ibis.row_number().over(window) > 0


def _echoed(rows: ir.Table, limits: Ingest) -> ir.BooleanValue:
    same = [name for name in EVENT if name not in ("event_id", "event_time")]
    order = [rows.event_time, *(rows[n] for n in FIRST)]
    window = ibis.window(group_by=[rows.rule.isnull(), *(rows[n] for n in same)], order_by=order)
    before = rows.event_time.lag().over(window)
    return (rows.event_time - ibis.interval(seconds=limits.duplicate_window_seconds) <= before).fill_null(False)


def _too_fast(rows: ir.Table, limits: Ingest) -> ir.BooleanValue:
    acts = rows.rule.isnull() & (rows.event_type != "impression")
    session = ibis.window(group_by=[ibis.coalesce(rows.session_id, rows.user_id)])
    count = acts.cast("int64").sum().over(session)
    seconds = rows.event_time.epoch_seconds()
    taken = ibis.ifelse(acts, seconds, ibis.null("int64"))
    span = ibis.greatest(taken.max().over(session) - taken.min().over(session), 1)
    return (count >= limits.robot_min_events) & (count * 60 > limits.robot_events_per_minute * span)


def _bad_price(rows: ir.Table, limits: Ingest) -> ir.BooleanValue:
    outside = (rows.price < limits.min_price) | (rows.price > limits.max_price)
    return rows.given_price & (rows.price.isnull() | rows.price.isnan() | outside)


def _bad_quantity(rows: ir.Table, limits: Ingest) -> ir.BooleanValue:
    outside = (rows.pieces < 1) | (rows.pieces > limits.max_quantity) | (rows.pieces != rows.pieces.floor())
    return rows.given_quantity & (rows.pieces.isnull() | rows.pieces.isnan() | outside)


TORN = Rule(
    "torn",
    "quarantined",
    lambda t, _: t.torn.notnull(),
    "Cannot be read: wrong number of columns, a quote that never closes, no JSON, wrong encoding.",
)
REPEATED = Rule(
    "exact_duplicate", "duplicate", _repeated, "Equals an earlier row of the day in every column the profile reads."
)
ROW_RULES = (
    Rule(
        "no_person",
        "quarantined",
        lambda t, _: t.user_id.isnull() & t.session_id.isnull(),
        "Names neither user nor session.",
    ),
    Rule("unknown_type", "quarantined", lambda t, _: t.event_type.isnull(), "Its event type is not in the profile."),
    Rule(
        "no_item",
        "quarantined",
        lambda t, _: t.item_id.isnull() & (t.event_type != "search"),
        "Names no item and is no search.",
    ),
    Rule(
        "no_query",
        "quarantined",
        lambda t, _: t["query"].isnull() & (t.event_type == "search"),
        "A search without words.",
    ),
    Rule(
        "bad_time",
        "quarantined",
        lambda t, _: t.event_time.isnull(),
        "Its time is missing or not of the profile's format.",
    ),
    Rule(
        "future_time",
        "quarantined",
        lambda t, _: t.event_time >= t.horizon,
        "Later than its file can know, or than the run's as-of time.",
    ),
    Rule(
        "too_late",
        "quarantined",
        lambda t, _: t.event_time < t.oldest,
        "Older than `ingest.max_late_days` before its file's day.",
    ),
    Rule(
        "bad_price",
        "quarantined",
        _bad_price,
        "Its price is no number, or outside `ingest.min_price` … `ingest.max_price`.",
    ),
    Rule(
        "bad_quantity",
        "quarantined",
        _bad_quantity,
        "Its quantity is no whole number from 1 to `ingest.max_quantity` (a cancel's sign is dropped).",
    ),
)
ECHOED = Rule(
    "near_duplicate",
    "duplicate",
    _echoed,
    "The same event, price and quantity included, within `ingest.duplicate_window_seconds` of the one before.",
)
TOO_FAST = Rule(
    "robot_rate",
    "robot",
    _too_fast,
    "A session of `ingest.robot_min_events` acts or more at a rate above `ingest.robot_events_per_minute`.",
)
OTHER_DAY = Rule(
    "other_day",
    "routed",
    lambda t, _: (t.event_time < t.begin) | (t.event_time >= t.end),
    "Belongs to another day of the shop; kept for it.",
)


def rules_of(profile: Profile) -> tuple[Rule, ...]:
    """Returns every rule in the order they are tried; the profile's exclusions come right after exact duplicates.

    Raises: UsageError: an exclusion is called like another rule.
    """
    excluded = [
        Rule(p.name, "excluded", lambda t, _, n=n: t[f"seen_{n}"], f"{p.column} matches `{p.matches}`.")
        for n, p in enumerate(patterns(profile))
        if isinstance(p, Exclusion)
    ]
    robots = (TOO_FAST,) if profile.events.judge_robots else ()
    rules = (TORN, REPEATED, *excluded, *ROW_RULES, ECHOED, *robots, OTHER_DAY)
    names = [rule.name for rule in rules]
    for rule in excluded:
        if names.count(rule.name) > 1:
            raise UsageError(
                f"The source profile's exclusion {rule.name} has the name of another rule; give it its own."
            )
    return rules


def judge(rows: ir.Table, rules: Sequence[Rule], limits: Ingest) -> ir.Table:
    """Adds `rule` (null for clean rows) and `outcome`."""
    rows = rows.mutate(rule=ibis.null("string"))
    for rule in rules:
        rows = rows.mutate(taken=rule.when(rows, limits).fill_null(False))
        rows = rows.mutate(rule=ibis.coalesce(rows.rule, ibis.ifelse(rows.taken, rule.name, ibis.null("string"))))
    outcomes = {rule.name: rule.outcome for rule in rules}
    branches = [(rows.rule == name, ibis.literal(outcome)) for name, outcome in outcomes.items()]
    return rows.mutate(outcome=ibis.cases(*branches, else_="clean"))
