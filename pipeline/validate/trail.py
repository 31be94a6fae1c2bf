"""Holds every day against the open days before it, in the order of days, from summaries alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median

from pipeline.validate.drift import MEASURES, PSEUDO_COUNT, pooled, psi
from pipeline.validate.hours import missing_hours
from pipeline.validate.measure import Measures, Standpoint
from pipeline.validate.metrics import METRICS
from pipeline.validate.suite import Rule
from pipeline.validate.summary import Bins, Summary
from pipeline.validate.volume import Expected, expect

LEAST_SHARED = 30
"""An event type of which fewer are expected has no share to speak of: its count alone varies by a fifth."""
LEAST_COPIED = 100
"""Smaller days may equal each other by chance."""
USUAL_SHARE = 0.9
"""So many of the trailing days lie no farther from their own window than what counts as usual."""


@dataclass(frozen=True)
class Comparison:
    """One day and what it is held against."""

    own: Summary
    window: Sequence[Summary]
    expected: Expected
    missing: list[int] | None
    least_rows: int


@dataclass(frozen=True)
class Compared:
    """What the comparison leaves for the page and the sentences.

    Attributes:
        held: the days that were held against others; days without it are warming up.
        windows: the trailing open days of each day, oldest first.
    """

    held: dict[date, Comparison] = field(default_factory=dict)
    windows: dict[date, list[Summary]] = field(default_factory=dict)

    @property
    def expected(self) -> dict[date, Expected]:
        """What volume was held against, by day."""
        return {day: each.expected for day, each in self.held.items()}

    @property
    def missing(self) -> dict[date, list[int]]:
        """The hours since midnight that are missing, by day."""
        return {day: each.missing or [] for day, each in self.held.items()}


def compare(
    measures: Measures, before: Mapping[date, Summary], rules: Sequence[Rule], seen_from: Standpoint
) -> Compared:
    """Adds to each open day's row what its rules ask of the trailing days.

    Days before it in the same run count as they were found, failed or not: a few bad ones do not move a median.

    Args:
        before: summaries of days published earlier.
    """
    summaries = {**before, **measures.summaries}
    asked = {rule.measure: rule for rule in rules if METRICS[rule.metric].kind == "trail"}
    compared = Compared()
    reach = timedelta(days=seen_from.trailing_days)
    for day in sorted(measures.summaries):
        window = [s for other, s in sorted(summaries.items()) if timedelta() < day - other <= reach and s.rows]
        compared.windows[day] = window
        if len(window) < seen_from.min_trailing_days:
            continue
        compared.held[day] = comparison = _comparison(summaries[day], window, seen_from)
        found = {name: COMPARISONS[rule.metric](comparison, rule) for name, rule in asked.items()}
        measures.rows[day] |= {name: value for name, value in found.items() if value is not None}
    return compared


def _comparison(own: Summary, window: Sequence[Summary], seen_from: Standpoint) -> Comparison:
    visitors = {each.day: each.visitors for each in window}
    missing = missing_hours(own.visitors, own.day, visitors, seen_from.timezone, seen_from.as_of)
    expected = expect({each.day: each.rows for each in window}, own.day)
    return Comparison(own, window, expected, missing, seen_from.drift_min_rows)


def _share_ratio(held: Comparison, rule: Rule) -> float | None:
    own = held.own.bins("events", "event_type")
    usual = pooled([each.bins("events", "event_type") for each in held.window])
    share = usual.get(rule.column, 0.0) / max(sum(usual.values()), 1)
    if share * held.own.rows < LEAST_SHARED:
        return None
    return (own.get(rule.column, 0) + PSEUDO_COUNT) / (share * held.own.rows + PSEUDO_COUNT)


def _drift(held: Comparison, rule: Rule) -> float | None:
    found = _sides(held, rule.table, rule.column)
    return MEASURES[rule.metric](found[0], pooled(found[1])) if found else None


def _psi_excess(held: Comparison, rule: Rule) -> float | None:
    """A shop whose days differ much among each other shall not be told so every night."""
    found = psi_of(held, rule.table, rule.column)
    return found[0] - found[1] if found else None


def psi_of(held: Comparison, table: str, column: str) -> tuple[float, float] | None:
    """Returns a column's population stability index, and what nine in ten trailing days stay below.

    Returns: None where either side has too few values to say.
    """
    found = _sides(held, table, column)
    if not found:
        return None
    window = pooled(found[1])
    usual = sorted(psi(day, window) for day in found[1])
    return psi(found[0], window), usual[int(USUAL_SHARE * (len(usual) - 1))]


def _sides(held: Comparison, table: str, column: str) -> tuple[Bins, list[Bins]] | None:
    own = held.own.bins(table, column)
    trailing = [bins for each in held.window if (bins := each.bins(table, column))]
    enough = sum(own.values()) >= held.least_rows and len(trailing) >= len(held.window) / 2
    return (own, trailing) if enough else None


def _null_share_rise(held: Comparison, rule: Rule) -> float | None:
    own = held.own.null_shares.get(rule.table, {})
    past = (each.null_shares.get(rule.table, {}) for each in held.window)
    trailing = [shares[rule.column] for shares in past if rule.column in shares]
    return own[rule.column] - max(trailing) if own and trailing else None


def _rows_ratio(held: Comparison, rule: Rule) -> float | None:
    trailing = [each.items for each in held.window if each.items]
    return held.own.items / median(trailing) if held.own.items and trailing else None


def _copied_days(held: Comparison, rule: Rule) -> float:
    return sum(each.pattern == held.own.pattern for each in held.window) if held.own.rows >= LEAST_COPIED else 0


COMPARISONS: Mapping[str, Callable[[Comparison, Rule], float | None]] = {
    "volume_ratio": lambda held, rule: held.expected.ratio(held.own.rows),
    "volume_deviation": lambda held, rule: held.expected.deviation(held.own.rows),
    "missing_hours": lambda held, rule: None if held.missing is None else len(held.missing),
    "copied_days": _copied_days,
    "share_ratio": _share_ratio,
    "psi": _drift,
    "js_divergence": _drift,
    "psi_excess": _psi_excess,
    "null_share_rise": _null_share_rise,
    "rows_ratio": _rows_ratio,
}
