"""What ingest set aside, rule by rule, beside what it may."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.sections import Ingest
from pipeline.validate.measure import Day


@dataclass(frozen=True)
class SetAside:
    """Rows one rule took on all days together.

    Attributes:
        worst: the greatest share of one day's rows, `worst_day` the day it was on.
        budget: the setting's words, or empty where the rule has none of its own.
    """

    rule: str
    rows: int
    worst: float
    worst_day: str
    budget: str


def quarantine_of(days: Sequence[Day], limits: Ingest) -> list[SetAside]:
    """Returns every rule that took rows, most first."""
    totals: dict[str, int] = {}
    worst: dict[str, tuple[float, str]] = {}
    for day in days:
        for rule, rows in day.counts.get("rules", {}).items():
            totals[rule] = totals.get(rule, 0) + rows
            worst[rule] = max(worst.get(rule, (0.0, "")), (rows / max(day.counts["rows"], 1), str(day.day)))
    ranked = sorted(((rule, rows) for rule, rows in totals.items() if rows), key=lambda entry: (-entry[1], entry[0]))
    return [SetAside(rule, rows, *worst[rule], _budget(rule, limits)) for rule, rows in ranked]


def _budget(rule: str, limits: Ingest) -> str:
    parts = (("warns", limits.rule_warn_share), ("fails", limits.rule_fail_share))
    return ", ".join(f"{word} above {shares[rule]:.1%}" for word, shares in parts if rule in shares)


def budget_of_a_day(limits: Ingest) -> str:
    return (
        f"Refused rows of a day, all rules together: a warning above {limits.quarantine_warn_share:.1%} of its rows, "
        f"a failure above {limits.quarantine_fail_share:.1%}, from {limits.quarantine_min_rows} rows on."
    )
