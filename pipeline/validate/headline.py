"""What the page says first: published or not, why, and the few figures one looks for at seven in the morning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.validate.page import Found

Tile = tuple[str, str, str]
MOST_RULES = 5


@dataclass(frozen=True)
class Headline:
    """The top of the page.

    Attributes:
        colour: `pass`, `warn` or `fail`.
        tiles: label, figure, remark.
        flags: what makes this run unlike others.
    """

    title: str
    sentence: str
    colour: str
    days: str
    tiles: list[Tile]
    flags: list[str]


def headline_of(found: Found) -> Headline:
    failures = found.verdict["failures"]
    failed = sorted({f["day"] for f in failures if f["severity"] == "fail"})
    colour = "fail" if failed else "warn" if failures else "pass"
    days = found.verdict["days"]
    named = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return Headline(
        _title(days, failed, found.publishes), _sentence(failures), colour, named, _tiles(found), _flags(found)
    )


def _title(days: Sequence[str], failed: Sequence[str], publishes: bool) -> str:
    outcome = "published" if publishes else "passed, not published"
    if len(days) == 1:
        day = date.fromisoformat(days[0])
        return f"{day:%A}, {day.day} {day:%B %Y}: {'not published' if failed else outcome}"
    if not failed:
        return f"All {len(days)} days {outcome}"
    if not publishes:
        return f"{len(days) - len(failed)} of {len(days)} days passed, none published"
    return f"{len(days) - len(failed)} of {len(days)} days published, {len(failed)} not"


def _sentence(failures: Sequence[Mapping[str, Any]]) -> str:
    """Returns which rules did not hold, in words."""
    if not failures:
        return "Every rule held."
    words = (("fail", "Broken"), ("warn", "Warnings"))
    told = [f"{word}: {_named(failures, severity)}." for severity, word in words if _of(failures, severity)]
    return " ".join(told)


def _of(failures: Sequence[Mapping[str, Any]], severity: str) -> list[Mapping[str, Any]]:
    return [failure for failure in failures if failure["severity"] == severity]


def _named(failures: Sequence[Mapping[str, Any]], severity: str) -> str:
    columns: dict[str, list[str]] = {}
    for failure in _of(failures, severity):
        named = columns.setdefault(failure["expectation"].replace("_", " "), [])
        if failure["column"] not in ("*", *named):
            named.append(failure["column"].replace("_", " "))
    rules = [name + (f" ({', '.join(each)})" if each else "") for name, each in columns.items()]
    return "; ".join(rules[:MOST_RULES]) + (f"; and {len(rules) - MOST_RULES} more" if len(rules) > MOST_RULES else "")


def _flags(found: Found) -> list[str]:
    verdict, flags = found.verdict, [] if found.publishes else ["marked as-of: publishes nothing"]
    if verdict["warming_up"]:
        flags.append("warming up: too few trailing days to compare with")
    if verdict["reopened_days"]:
        flags.append(f"re-opened for late rows: {', '.join(verdict['reopened_days'][:5])}")
    if verdict["closed_days"]:
        closed = verdict["closed_days"]
        flags.append(f"closed: {closed[0]}" if len(closed) == 1 else f"{len(closed)} closed days")
    return flags


def _tiles(found: Found) -> list[Tile]:
    focus = found.focus
    single = len(found.verdict["days"]) == 1
    tiles = [_volume(found, focus) if single and focus else _events(found)]
    severities = [f["severity"] for f in found.verdict["failures"]]
    tiles.append(("rules broken", f"{severities.count('fail'):,}", f"{severities.count('warn'):,} warnings"))
    tiles += [_missing(found, focus)] if focus and focus in found.compared.expected and single else []
    rows = sum(day.counts["rows"] for day in found.days)
    refused = sum(day.counts["quarantined"] for day in found.days)
    limit = found.settings.ingest.quarantine_fail_share
    tiles.append(
        ("rows refused by ingest", f"{refused / max(rows, 1):.2%}", f"{refused:,} rows; limit {limit:.0%} a day")
    )
    late = sum(day.late_rows for day in found.days)
    tiles += [("late rows", f"{late:,}", "came in later files")] if late else []
    return tiles


def _volume(found: Found, focus: date) -> Tile:
    rows, expected = found.measures.summaries[focus].rows, found.compared.expected.get(focus)
    remark = (
        f"expected {expected.rows:,.0f}: {rows / expected.rows - 1:+.0%}" if expected else "nothing to compare with"
    )
    return ("events", f"{rows:,}", remark)


def _events(found: Found) -> Tile:
    days = found.measures.summaries
    return ("events", f"{sum(each.rows for each in days.values()):,}", f"on {len(days):,} open days")


def _missing(found: Found, focus: date) -> Tile:
    missing = found.compared.missing[focus]
    return ("missing hours", f"{len(missing)}", "of the shop's day")
