"""The decision record: what was decided, in words first, as JSON, Markdown and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import write_beside
from pipeline.gate.rules import Finding, Verdict

SCHEMA_VERSION = 1
MARKS: Mapping[str, str] = {"pass": "pass", "fail": "FAIL", "inconclusive": "UNCLEAR", "reported": "-"}


@dataclass(frozen=True)
class Decision:
    """Everything the record says.

    Attributes:
        standing: which baselines the challenger does not clearly beat; empty where it was not held against them.
        k: of every recall in it.
        metric: the shop's sense of recall, `all_items` or `new_items`.
        test: facts of the test for the page: queries, users, start, end.
    """

    run_id: str
    as_of: str
    data_end: str
    outcome: Verdict
    sentence: str
    standing: str
    backfill: bool
    dry_run: bool
    challenger: Mapping[str, Any]
    champion: Mapping[str, Any] | None
    findings: Sequence[Finding]
    k: int
    metric: str
    test: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "as_of": self.as_of,
            "data_end": self.data_end,
            "outcome": self.outcome,
            "sentence": self.sentence,
            "standing": self.standing,
            "backfill": self.backfill,
            "dry_run": self.dry_run,
            "challenger": dict(self.challenger),
            "champion": dict(self.champion) if self.champion else None,
            "gates": [finding.to_dict() for finding in self.findings],
            "test": {**self.test, "k": self.k, "metric": self.metric},
        }


def write(folder: Path, decision: Decision, page: str) -> None:
    """Leaves the three forms of the record; the JSON last, because it is what `promote` reads."""
    write_beside(folder / "decision.html", page)
    write_beside(folder / "decision.md", markdown(decision))
    write_beside(
        folder / "decision.json", json.dumps(decision.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    )


def markdown(decision: Decision) -> str:
    """Returns the record as text: the sentence, who met whom, the table of gates, the reason of each."""
    reasons = [f"- {_title(f)}: {f.reason}" for f in decision.findings if f.reason]
    return "\n".join([summary(decision), *reasons, ""])


def summary(decision: Decision) -> str:
    """Returns the record as text without the reasons."""
    champion = decision.champion
    against = f"version {champion['version']} ({champion['digest'][:12]})" if champion else "none yet"
    challenger = decision.challenger
    kind = "found among items the user had not met" if decision.metric == "new_items" else "found among all items"
    lines = [
        f"**{decision.sentence}**",
        "",
        *((f"**{decision.standing}**", "") if decision.standing else ()),
        f"- run {decision.run_id}, as of {decision.as_of}, data until {decision.data_end}",
        f"- challenger: version {challenger['version'] or '-'} ({challenger['digest'][:12]}); champion: {against}",
        f"- test: {decision.test['queries']:,} queries of {decision.test['users']:,} users, "
        f"{decision.test['start']} to {decision.test['end']}; recall@{decision.k}, {kind}, through the index",
        "",
        *table(decision.findings),
        "",
    ]
    return "\n".join(lines)


def table(findings: Sequence[Finding]) -> list[str]:
    """Returns the gates as lines of a Markdown table that is aligned enough for a terminal."""
    rows = [("gate", "verdict", "challenger", "champion", "difference", "limit"), *(_cells(f) for f in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], rule, *lines[1:]]


def _cells(finding: Finding) -> tuple[str, ...]:
    difference = ""
    if finding.difference is not None:
        difference = f"{finding.difference:+.4f} [{finding.low:+.4f}, {finding.high:+.4f}]"
    elif finding.low is not None and finding.high != finding.low:
        difference = f"[{number(finding.low)}, {number(finding.high)}]"
    sides = (number(finding.challenger), number(finding.champion))
    return (_title(finding), MARKS[finding.verdict], *sides, difference, number(finding.threshold))


def _title(finding: Finding) -> str:
    return f"{finding.gate}: {finding.slice}" if finding.slice else finding.gate


def number(value: float | None) -> str:
    """Returns four significant digits, or a dash for nothing."""
    return "-" if value is None else f"{value:.4g}"
