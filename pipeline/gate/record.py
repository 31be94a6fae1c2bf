"""The decision record: what was decided, in words first, as JSON with a schema, Markdown and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from pipeline.core.artifacts import write_beside
from pipeline.gate.rules import Finding, Timed

SCHEMA_VERSION = 1
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MARKS: Mapping[str, str] = {"pass": "pass", "fail": "FAIL", "inconclusive": "UNCLEAR", "reported": "-"}


class Side(TypedDict):
    """Who was judged: version of the registered model, null where none was registered, and digest of the bundle."""

    version: str | None
    digest: str


class Champion(Side):
    """Whom it was held against, with the ledger entry that made it champion."""

    sequence: int


class Asked(TypedDict):
    """What was asked of both: queries, and from when to when."""

    queries: int
    users: int
    start: str
    end: str
    days: float


@dataclass(frozen=True)
class Decision:
    """Everything the record says; its JSON schema is made from these types.

    Attributes:
        outcome: what the gates allow; a person may still have to agree.
        standing: which baselines the challenger does not clearly beat; empty where it was not held against them.
        champion: null where there was none.
        findings: a row a gate and slice.
        k: of every recall in it.
        metric: the shop's sense of recall.
        latency: how it was measured; null where no server could be timed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", json_schema_serialization_defaults_required=True
    )

    run_id: str
    as_of: str
    data_end: str
    outcome: Literal["pass", "fail", "inconclusive"]
    sentence: str
    standing: str
    backfill: bool
    dry_run: bool
    challenger: Side
    champion: Champion | None
    findings: Annotated[Sequence[Finding], Field(alias="gates")]
    k: int
    metric: Literal["all_items", "new_items"]
    test: Asked
    latency: Timed | None = None
    schema_version: Literal[1] = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        return TypeAdapter(Decision).dump_python(self, by_alias=True)


def schema() -> dict[str, Any]:
    """Returns the JSON schema of `decision.json`."""
    return {"$schema": DIALECT, **TypeAdapter(Decision).json_schema(mode="serialization")}


def written(decision: Decision) -> str:
    """Returns the record as JSON that fits its schema.

    Raises: ValueError: it does not, or holds a number JSON has no word for.
    """
    text = json.dumps(decision.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    TypeAdapter(Decision).validate_json(text, strict=True)
    return text


def tags(decision: Decision) -> dict[str, str]:
    """Returns what the registered version is tagged with: the verdict, and which champion it was compared with."""
    champion = decision.champion or {"version": "none", "digest": "", "sequence": 0}
    return {
        "gate": decision.outcome,
        "gate.sentence": decision.sentence,
        "gate.standing": decision.standing,
        **{f"compared_with.{name}": str(value) for name, value in champion.items()},
    }


def figures(decision: Decision) -> dict[str, float]:
    """Returns what versions can be compared by: the challenger's figure of each gate, and its paired difference."""
    found = {}
    for f in decision.findings:
        name = ".".join(["gate", f.metric, *([f.slice] if f.slice else [])])
        told = {name: f.challenger, f"{name}.difference": f.difference}
        found |= {key: value for key, value in told.items() if value is not None}
    return found


def write(folder: Path, decision: Decision, page: str) -> None:
    """Leaves the three forms of the record; the JSON last, because it is what `promote` reads."""
    text = written(decision)
    write_beside(folder / "decision.html", page)
    write_beside(folder / "decision.md", markdown(decision))
    write_beside(folder / "decision.json", text)


def timing(timed: Timed) -> str:
    """Returns in a sentence how latency was measured."""
    return (
        f"Open loop at {timed['rate']:g} requests/s, {timed['requests']:,} requests to each server in "
        f"{timed['rounds']} rounds of fresh processes; look {timed['looks']} of at most {timed['most_looks']}, "
        f"intervals of {timed['confidence']:.1%}; the client itself was at most {timed['client_late_ms']:.2g} ms late "
        "(99 %)."
    )


def markdown(decision: Decision) -> str:
    """Returns the record as text: the sentence, who met whom, the table of gates, the reason of each."""
    reasons = [f"- {_title(f)}: {f.reason}" for f in decision.findings if f.reason]
    timed = [f"- Latency: {timing(decision.latency)}"] if decision.latency else []
    return "\n".join([summary(decision), *reasons, *timed, ""])


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
