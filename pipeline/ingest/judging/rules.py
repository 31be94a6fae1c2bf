"""The rules a row must pass, as a table: first match wins, and every row ends in exactly one outcome.

A rule looks at a row by itself (`when`), or among the rows that no earlier rule took (`among`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Literal

import ibis
import ibis.expr.types as ir

from pipeline.core.errors import UsageError
from pipeline.core.schema import CATALOGUE, EVENT
from pipeline.core.sections import Ingest
from pipeline.ingest.judging.times import SECOND, offset_at
from pipeline.ingest.profiles.profile import AccountPattern, Exclusion, Profile
from pipeline.ingest.reading.batches import raw_columns
from pipeline.store.words import micros_of, moment_of

Outcome = Literal["clean", "quarantined", "duplicate", "robot", "excluded", "routed"]
OUTCOMES: tuple[Outcome, ...] = ("clean", "quarantined", "duplicate", "robot", "excluded", "routed")
PLACE = {"place": "int64"}
"""What tells one row of a day from all others, in the order of files and rows."""
SAME = tuple(name for name in EVENT if name not in ("event_id", "event_time", "context"))
"""Columns that two rows share when both may tell of the same event; `echo` is a hash of them.

`trail` is a hash of the session, or of the user where there is none.
"""


@dataclass(frozen=True)
class Given:
    """What rules are held against besides the row."""

    limits: Ingest
    profile: Profile
    somebody_erased: bool = True


def _always(_: Given) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """One reason a row is not clean.

    Attributes:
        doc: one line for the documentation.
        when: the rows concerned, each told by itself, from the columns of `canonical` and `asked`.
        among: the rows concerned, found by comparing those that no earlier rule took, with their `PLACE`.
        of: the rows that can be concerned at all, a name in `CANDIDATES`, or all that are `typed`.
        asked_for: whether an `among` rule can take a row at all.
    """

    name: str
    outcome: Outcome
    doc: str
    when: Callable[[ir.Table, Given], ir.BooleanValue] | None = None
    among: Callable[[ir.Table, Given], ir.Table] | None = None
    of: str = "typed"
    asked_for: Callable[[Given], bool] = _always


def _erased(free: ir.Table, _: Given) -> ir.Table:
    erased = ibis.table({"person": "string", "session": "string"}, name="erased")
    people, sessions = (erased.filter(erased[n].notnull()).select(n).distinct() for n in ("person", "session"))
    nameless = free.filter(free.user_id.isnull())
    by_user = free.semi_join(people, free.user_id == people.person)
    # A session the ledger does not know yet: the person came back after they were forgotten.
    seen = by_user.filter(by_user.session_id.notnull()).select(session=by_user.session_id)
    sessions = sessions.union(seen).distinct()
    return by_user.select(*PLACE).union(
        nameless.semi_join(sessions, nameless.session_id == sessions.session).select(*PLACE)
    )


def _alike(rows: ir.Table, _: Given) -> ir.Table:
    seen = rows.group_by("echo").agg(rows=rows.count())
    return seen.filter(seen.rows > 1).select("echo")


def _repeated(free: ir.Table, given: Given) -> ir.Table:
    columns = dict.fromkeys([*raw_columns(given.profile).values(), "user_id", "session_id"])
    window = ibis.window(group_by=[free[n] for n in columns], order_by=[free[n] for n in PLACE])
    numbered = free.mutate(nth=ibis.row_number().over(window))
    return numbered.filter(numbered.nth > 0)


def _echoed(free: ir.Table, given: Given) -> ir.Table:
    order = [free.event_time, *(free[n] for n in PLACE)]
    before = free.event_time.lag().over(ibis.window(group_by=[free[n] for n in SAME], order_by=order))
    timed = free.mutate(at=micros_of(free.event_time), before=micros_of(before))
    return timed.filter(timed["at"] - timed.before <= given.limits.duplicate_window_seconds * SECOND)


def _acts(rows: ir.Table) -> ir.Table:
    """Returns what somebody did; being shown something is no act."""
    return rows.filter(rows.event_type != "impression")


def _busy(rows: ir.Table, given: Given) -> ir.Table:
    counted = _acts(rows).group_by("trail").agg(acts=lambda acts: acts.count())
    return counted.filter(counted.acts >= given.limits.robot_min_events).select("trail")


def _with_actor(rows: ir.Table) -> ir.Table:
    return rows.mutate(actor=ibis.coalesce(rows.session_id, rows.user_id))


def _too_fast(free: ir.Table, given: Given) -> ir.Table:
    rows = _with_actor(free)
    acts = _acts(rows)
    micros = micros_of(acts.event_time)
    paces = acts.group_by("actor").agg(acts=acts.count(), first=micros.min(), last=micros.max())
    span = ibis.greatest(paces["last"] - paces["first"], SECOND)
    fast = paces.acts * 60 * SECOND > given.limits.robot_events_per_minute * span
    return rows.semi_join(paces.filter((paces.acts >= given.limits.robot_min_events) & fast), "actor")


def _too_regular(free: ir.Table, given: Given) -> ir.Table:
    """Sums are whole milliseconds in decimals, so that the order of adding cannot decide on a robot."""
    rows = _with_actor(free)
    acts = _acts(rows)
    window = ibis.window(group_by=acts.actor, order_by=[acts.event_time, *(acts[n] for n in PLACE)])
    gap = micros_of(acts.event_time) - micros_of(acts.event_time.lag().over(window))
    gaps = acts.select("actor", gap=(gap / 1000).floor().cast("decimal(18, 0)"))
    sums = gaps.group_by("actor").agg(
        acts=gaps.count(), gaps=gaps.gap.count(), total=gaps.gap.sum(), squares=(gaps.gap * gaps.gap).sum()
    )
    count, total, squares = (sums[n].cast("float64") for n in ("gaps", "total", "squares"))
    limit = given.limits.robot_min_gap_variation
    regular = (total > 0) & (count * squares - total * total < limit * limit * total * total)
    return rows.semi_join(sums.filter((sums.acts >= given.limits.robot_min_events) & regular), "actor")


def _unknown(free: ir.Table, _: Given) -> ir.Table:
    states = ibis.table(CATALOGUE, name="item_states").select("item_id", "valid_from")
    states = states.cross_join(ibis.table({"end": "timestamp('UTC')"}, name="asked"))
    known = states.filter(states.valid_from.isnull() | (states.valid_from < states.end)).select("item_id").distinct()
    items = free.filter(free.item_id.notnull())
    return items.anti_join(known, "item_id")


def _before_shop(rows: ir.Table, given: Given) -> ir.BooleanValue:
    opened = given.profile.calendar.opened
    if opened is None:
        return ibis.literal(False)
    first = datetime.combine(opened, time(), given.profile.zone).astimezone(UTC)
    return rows.event_time < moment_of(ibis.literal(int(first.timestamp()) * SECOND, "int64"))


def _wrong_zone(rows: ir.Table, given: Given) -> ir.BooleanValue:
    times = given.profile.events.time
    if times.stated_offset != "must_match" or times.format.startswith("epoch"):
        return ibis.literal(False)
    return rows.stated != offset_at(rows.wall - rows.stated * SECOND, times.zone)


def _seen(rows: ir.Table, given: Given, kind: type) -> list[ir.BooleanValue]:
    return [rows[f"seen_{n}"] for n, pattern in enumerate(given.profile.patterns) if isinstance(pattern, kind)]


def _test_account(rows: ir.Table, given: Given) -> ir.BooleanValue:
    return ibis.or_(ibis.literal(False), *_seen(rows, given, AccountPattern))


def _bad_price(rows: ir.Table, given: Given) -> ir.BooleanValue:
    outside = (rows.price < given.limits.min_price) | (rows.price > given.limits.max_price)
    return rows.given_price & (rows.price.isnull() | outside)


def _bad_quantity(rows: ir.Table, given: Given) -> ir.BooleanValue:
    pieces = rows.pieces
    outside = (pieces < 1) | (pieces > given.limits.max_quantity) | (pieces != pieces.floor())
    return rows.given_quantity & (pieces.isnull() | outside)


CANDIDATES = {"alike": _alike, "busy": _busy}
"""Which rows a costly comparison is made among: those whose hash, the one column given here, is among these.

Hashes may put too many there, never too few.
"""
FIRST_RULES = (
    Rule(
        "torn",
        "quarantined",
        "Cannot be read: wrong number of columns, a quote that never closes, no JSON, wrong encoding, a NUL byte, a "
        "stray carriage return.",
        when=lambda t, _: t.torn.notnull(),
    ),
    Rule(
        "erased",
        "excluded",
        "Of a person who asked to be forgotten, or of a session of theirs.",
        among=_erased,
        asked_for=lambda given: given.somebody_erased,
    ),
    Rule(
        "exact_duplicate",
        "duplicate",
        "Equals an earlier row of the day in every column the profile reads.",
        among=_repeated,
        of="alike",
    ),
    Rule(
        "test_account",
        "excluded",
        "Of an account that the profile's `events.test_accounts` calls no customer's.",
        when=_test_account,
    ),
)
"""What is tried before the profile's exclusions."""
ROW_RULES = (
    Rule(
        "no_person",
        "quarantined",
        "Names neither user nor session.",
        when=lambda t, _: t.user_id.isnull() & t.session_id.isnull(),
    ),
    Rule(
        "unknown_type",
        "quarantined",
        "Its event type is not in the profile.",
        when=lambda t, _: t.event_type.isnull(),
    ),
    Rule(
        "no_item",
        "quarantined",
        "Names no item and is no search.",
        when=lambda t, _: t.item_id.isnull() & (t.event_type != "search"),
    ),
    Rule(
        "no_query",
        "quarantined",
        "A search without words.",
        when=lambda t, _: t["query"].isnull() & (t.event_type == "search"),
    ),
    Rule(
        "bad_time",
        "quarantined",
        "Its time is missing or not of the profile's format.",
        when=lambda t, _: t.event_time.isnull(),
    ),
    Rule(
        "wrong_zone",
        "quarantined",
        "Its time states an offset that `time.zone` does not have then, and the profile says they must match.",
        when=_wrong_zone,
    ),
    Rule(
        "future_time",
        "quarantined",
        "Later than its file can know, or than the run's as-of time.",
        when=lambda t, _: t.event_time >= t.horizon,
    ),
    Rule(
        "before_shop",
        "quarantined",
        "Earlier than `calendar.opened`, the shop's first day, in the profile's zone.",
        when=_before_shop,
    ),
    Rule(
        "too_late",
        "quarantined",
        "Older than `ingest.max_late_days` before its file's day.",
        when=lambda t, _: t.event_time < t.oldest,
    ),
    Rule(
        "bad_price",
        "quarantined",
        "Its price is no number, or outside `ingest.min_price` … `ingest.max_price`.",
        when=_bad_price,
    ),
    Rule(
        "bad_quantity",
        "quarantined",
        "Its quantity is no whole number from 1 to `ingest.max_quantity` (a cancel's sign is dropped).",
        when=_bad_quantity,
    ),
)
UNKNOWN_ITEM = Rule(
    "unknown_item",
    "quarantined",
    "Its item is in no catalogue file of the day; only where `ingest.unknown_items` is `quarantine`.",
    among=_unknown,
    asked_for=lambda given: given.limits.unknown_items == "quarantine",
)
NEAR_DUPLICATE = Rule(
    "near_duplicate",
    "duplicate",
    "The same event, price and quantity included, within `ingest.duplicate_window_seconds` of the one before.",
    among=_echoed,
    of="alike",
)
ROBOTS = (
    Rule(
        "robot_rate",
        "robot",
        "A session of `ingest.robot_min_events` acts or more at a rate above `ingest.robot_events_per_minute`.",
        among=_too_fast,
        of="busy",
    ),
    Rule(
        "robot_regularity",
        "robot",
        "A session of `ingest.robot_min_events` acts or more, not all at one moment, whose gaps' standard deviation is "
        "below `ingest.robot_min_gap_variation` of their mean.",
        among=_too_regular,
        of="busy",
        asked_for=lambda given: given.limits.robot_min_gap_variation > 0,
    ),
)
OTHER_DAY = Rule(
    "other_day",
    "routed",
    "Belongs to another day of the shop; kept for it.",
    when=lambda t, _: (t.event_time < t.begin) | (t.event_time >= t.end),
)


def rules_of(profile: Profile) -> tuple[Rule, ...]:
    """Returns every rule in the order they are tried; the profile's exclusions come right after test accounts.

    Raises: UsageError: an exclusion is called like another rule.
    """
    excluded = [
        Rule(p.name, "excluded", f"{p.column} matches `{p.matches}`.", when=lambda t, _, n=n: t[f"seen_{n}"])
        for n, p in enumerate(profile.patterns)
        if isinstance(p, Exclusion)
    ]
    unknown = (UNKNOWN_ITEM,) if profile.catalogue.files else ()
    robots = ROBOTS if profile.events.judge_robots else ()
    rules = (*FIRST_RULES, *excluded, *ROW_RULES, *unknown, NEAR_DUPLICATE, *robots, OTHER_DAY)
    names = [rule.name for rule in rules]
    for rule in excluded:
        if names.count(rule.name) > 1:
            raise UsageError(
                f"The source profile's exclusion {rule.name} has the name of another rule; give it its own."
            )
    return rules
