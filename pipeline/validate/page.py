"""Our own page of a verdict: one file, no network, pictures inline, nothing on it that is a person's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.core.schema import EVENT_TYPES
from pipeline.core.settings import Settings
from pipeline.validate import pictures
from pipeline.validate.distributions import clock_hours
from pipeline.validate.examples import Example
from pipeline.validate.headline import headline_of
from pipeline.validate.measure import Day, Measures
from pipeline.validate.panels import panels_of
from pipeline.validate.quarantine import budget_of_a_day, quarantine_of
from pipeline.validate.suite import Rule
from pipeline.validate.summary import Summary
from pipeline.validate.trail import Compared

TEMPLATE = Path(__file__).with_name("report.html")
DAYS_PICTURED = 400
HOURS_PICTURED = 90
BAND_SPREADS = 5.0
"""How wide the band is drawn where no rule on volume_deviation says."""


@dataclass(frozen=True)
class Found:
    """Everything a page is made from.

    Attributes:
        verdict: what `verdict.json` holds.
        before: summaries of days published earlier.
        publishes: whether the days that passed are published; those of a run marked as-of are not.
    """

    verdict: Mapping[str, Any]
    days: Sequence[Day]
    rules: Sequence[Rule]
    measures: Measures
    compared: Compared
    before: Mapping[date, Summary]
    examples: Sequence[Example]
    settings: Settings
    publishes: bool

    def summary(self, day: date) -> Summary | None:
        return self.measures.summaries.get(day) or self.before.get(day)

    @property
    def focus(self) -> date | None:
        """The day looked at closely: the newest that failed, else the newest that could be read."""
        failed = {date.fromisoformat(f["day"]) for f in self.verdict["failures"] if f["severity"] == "fail"}
        readable = self.measures.summaries.keys()
        return max(failed & readable or readable, default=None)


def write_page(path: Path, found: Found) -> None:
    """Renders the verdict as HTML."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(TEMPLATE.read_text())
    path.write_text(template.render(**_facts(found)))


def _facts(found: Found) -> dict[str, Any]:
    says = {(rule.table, rule.name, rule.column): rule.says for rule in found.rules}
    newest_first = sorted(found.verdict["failures"], key=lambda f: f["day"], reverse=True)
    failures = sorted(newest_first, key=lambda f: f["severity"] != "fail")
    focus = found.focus
    return {
        "verdict": found.verdict,
        "head": headline_of(found),
        "failures": [{**f, "says": says[f["suite"], f["expectation"], f["column"]]} for f in failures],
        "examples": found.examples,
        **_pictures(found),
        "focus": focus,
        "panels": _panels(found, focus),
        "catalogue": _catalogue(found, focus) if focus else [],
        "rules": [_rule_facts(rule, found) for rule in found.rules],
        "quarantine": quarantine_of(found.days, found.settings.ingest),
        "budget": budget_of_a_day(found.settings.ingest),
        "colours": pictures.TYPE_COLOURS,
    }


def _panels(found: Found, focus: date | None) -> list[Any]:
    own = found.summary(focus) if focus else None
    return panels_of(own, found.compared.windows[focus], found.compared.held.get(focus)) if own else []


def _pictures(found: Found) -> dict[str, Any]:
    shown = _shown(found)
    known = {day: summary for day in shown if (summary := found.summary(day))}
    axis = pictures.Days([str(day) for day in shown])
    late = pictures.Days([str(day) for day in shown[-HOURS_PICTURED:]])
    types = {str(day): summary.bins("events", "event_type") for day, summary in known.items()}
    totals = {name: sum(counts.get(name, 0) for counts in types.values()) for name in EVENT_TYPES}
    volumes = {str(day): summary.rows for day, summary in known.items()}
    return {
        "volumes": pictures.volume_bars(axis, volumes, _classes(found, shown), _bands(found), _notes(found.days)),
        "hours": pictures.hour_strip(late, _hours(found, known), _missing(found)),
        "shares": pictures.share_bars(axis, types),
        "totals": {name: count for name, count in totals.items() if count},
    }


def _shown(found: Found) -> list[date]:
    """Returns the days of the run and of the trailing windows, closed ones too."""
    own = [day.day for day in found.days]
    past = [each.day for window in found.compared.windows.values() for each in window]
    return sorted({*own, *past})[-DAYS_PICTURED:]


def _classes(found: Found, shown: Iterable[date]) -> dict[str, str]:
    classes = {str(day): "trailing" for day in shown if str(day) not in found.verdict["days"]}
    classes |= {f["day"]: "warned" for f in found.verdict["failures"] if f["severity"] == "warn"}
    return classes | {f["day"]: "failed" for f in found.verdict["failures"] if f["severity"] == "fail"}


def _bands(found: Found) -> dict[str, tuple[float, float, float]]:
    limits = [rule.at_most for rule in found.rules if rule.metric == "volume_deviation" and rule.at_most]
    spreads = min(limits, default=BAND_SPREADS)
    return {
        str(day): (expected.band(spreads)[0], expected.rows, expected.band(spreads)[1])
        for day, expected in found.compared.expected.items()
    }


def _notes(days: Iterable[Day]) -> dict[str, str]:
    notes = {}
    for day in days:
        words = ["re-opened"] if day.reopened else []
        words += [f"{day.late_rows:,} late rows"] if day.late_rows else []
        if words:
            notes[str(day.day)] = ", ".join(words)
    return notes


def _hours(found: Found, known: Mapping[date, Summary]) -> dict[str, dict[int, int]]:
    """Returns events by the hour a clock shows."""
    zone, shown = found.settings.shop.timezone, {}
    for day, summary in known.items():
        counts: dict[int, int] = {}
        for hour, count in zip(clock_hours(day, zone), summary.hours, strict=False):
            counts[hour] = counts.get(hour, 0) + count
        shown[str(day)] = counts
    return shown


def _missing(found: Found) -> dict[str, list[int]]:
    zone = found.settings.shop.timezone
    return {str(day): [clock_hours(day, zone)[h] for h in hours] for day, hours in found.compared.missing.items()}


def _catalogue(found: Found, focus: date) -> list[tuple[str, str, str]]:
    """Returns label, figure of the day and figure of the trailing days."""
    own, window = found.measures.summaries[focus], found.compared.windows[focus]
    trailing = [each for each in window if each.items]
    rows = [("rows", f"{own.items:,}", f"{median(each.items for each in trailing):,.0f}" if trailing else "")]
    own_shares = own.null_shares.get("catalogue", {})
    for name in ("category", "brand", "title", "price", "in_stock"):
        past = [each.null_shares["catalogue"][name] for each in trailing]
        if own_shares:
            rows.append((f"without {name}", f"{own_shares[name]:.1%}", f"{median(past):.1%}" if past else ""))
    row = found.measures.rows[focus]
    if (stock := row.get("catalogue.true_share(in_stock)")) is not None:
        rows.append(("in stock", f"{stock:.1%}", ""))
    rows.append(("events on items it never named", f"{row['events.unknown_share(item_id)']:.2%}", ""))
    return rows


def _rule_facts(rule: Rule, found: Found) -> dict[str, Any]:
    """Returns a rule with the least and greatest value any day had, and how many days broke it."""
    values = [row[rule.measure] for row in found.measures.rows.values() if rule.measure in row]
    spread = f"{min(values):.4g} to {max(values):.4g}" if values else "not judged"
    if values and min(values) == max(values):
        spread = f"{values[0]:.4g}"
    place = (rule.table, rule.name, rule.column)
    broken = sum((f["suite"], f["expectation"], f["column"]) == place for f in found.verdict["failures"])
    return {"rule": rule, "days": len(values), "spread": spread, "broken": broken}
