"""Our own page of a verdict: one file, no network, pictures inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.core.schema import EVENT_TYPES
from pipeline.validate.metrics import Day, Measures, Trail
from pipeline.validate.pictures import TYPE_COLOURS, share_bars, volume_bars
from pipeline.validate.publish import DAYS_PICTURED
from pipeline.validate.suite import Rule

TEMPLATE = Path(__file__).with_name("report.html")


def write_page(
    path: Path, verdict: Mapping[str, Any], measures: Measures, rules: Sequence[Rule], days: Sequence[Day], trail: Trail
) -> None:
    """Renders the verdict as HTML."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(TEMPLATE.read_text())
    path.write_text(template.render(**_facts(verdict, measures, rules, days, trail)))


def _facts(
    verdict: Mapping[str, Any], measures: Measures, rules: Sequence[Rule], days: Sequence[Day], trail: Trail
) -> dict[str, Any]:
    classes = _classes(verdict)
    past = _shown(trail, days)
    volumes = {str(day): trail.volumes.get(day, 0) for day in past} | {
        str(day.day): int(measures.rows.get(day.day, {}).get("events", 0)) for day in days
    }
    classes |= {day: "trailing" for day in volumes if day not in verdict["days"]}
    types = {str(day): trail.event_types[day] for day in past}
    types |= {str(day.day): measures.event_types.get(day.day, {}) for day in days}
    totals = {name: sum(counts.get(name, 0) for counts in types.values()) for name in EVENT_TYPES}
    return {
        "verdict": verdict,
        "title": _title(verdict),
        "days": f"{verdict['days'][0]} to {verdict['days'][-1]}" if len(days) > 1 else verdict["days"][0],
        "figures": _figures(verdict, measures),
        "volumes": volume_bars(volumes, classes, {str(day): m for day, m in measures.medians.items()}),
        "shares": share_bars(types),
        "totals": {name: count for name, count in totals.items() if count},
        "colours": TYPE_COLOURS,
        "rules": [_rule_facts(rule, verdict, measures) for rule in rules],
        "quarantine": _summed(days),
    }


def _shown(trail: Trail, days: Sequence[Day]) -> list[date]:
    # A night of one day needs its past to be read; a history load of hundreds shows itself.
    room = max(DAYS_PICTURED - len(days), 0)
    return sorted(trail.event_types)[-room:] if room else []


def _classes(verdict: Mapping[str, Any]) -> dict[str, str]:
    warned = {f["day"]: "warned" for f in verdict["failures"] if f["severity"] == "warn"}
    return warned | {f["day"]: "failed" for f in verdict["failures"] if f["severity"] == "fail"}


def _title(verdict: Mapping[str, Any]) -> str:
    failed = len({f["day"] for f in verdict["failures"] if f["severity"] == "fail"})
    if failed:
        return f"{failed} of {len(verdict['days'])} days failed" if len(verdict["days"]) > 1 else "The day failed"
    passed = "Every day passed" if len(verdict["days"]) > 1 else "The day passed"
    return f"{passed}, warming up" if verdict["warming_up"] else passed


def _figures(verdict: Mapping[str, Any], measures: Measures) -> list[tuple[str, str]]:
    failures = verdict["failures"]
    return [
        ("days judged", f"{len(verdict['days']) - len(verdict['closed_days']):,}"),
        ("closed days", f"{len(verdict['closed_days']):,}"),
        ("events", f"{sum(row.get('events', 0) for row in measures.rows.values()):,.0f}"),
        ("failures", f"{sum(f['severity'] == 'fail' for f in failures):,}"),
        ("warnings", f"{sum(f['severity'] == 'warn' for f in failures):,}"),
    ]


def _rule_facts(rule: Rule, verdict: Mapping[str, Any], measures: Measures) -> dict[str, Any]:
    """Returns a rule with the least and greatest value any day had, and how many days broke it."""
    values = [row[rule.metric] for row in measures.rows.values() if rule.metric in row]
    spread = f"{min(values):.4g} to {max(values):.4g}" if values else "not judged"
    if values and min(values) == max(values):
        spread = f"{values[0]:.4g}"
    broken = sum(failure["expectation"] == rule.name for failure in verdict["failures"])
    return {"rule": rule, "days": len(values), "spread": spread, "broken": broken}


def _summed(days: Sequence[Day]) -> dict[str, int]:
    """Returns rows refused or set aside in ingest, by rule, most first."""
    total: dict[str, int] = {}
    for day in days:
        for rule, rows in day.counts.get("rules", {}).items():
            total[rule] = total.get(rule, 0) + rows
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
