"""Adds up what became of every row of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError, MissingInputError
from pipeline.core.run import Layout, Run, Shared
from pipeline.core.step import Report
from pipeline.ingest.judging.rules import OUTCOMES

LANDED = "landed"
"""Name under which a run notes what it made of its own days' files, those over their budget among them."""


def require_equation(day: date, rows: int, outcomes: Mapping[str, int], rules: Mapping[str, int]) -> None:
    """Raises: DataError: a row is in no outcome or in two."""
    total, told = sum(outcomes.values()), sum(rules.values()) + outcomes["clean"]
    if not rows == total == told:
        parts = " + ".join(f"{count:,} {name}" for name, count in outcomes.items())
        raise DataError(
            f"{day}: {rows:,} rows were read but {parts} = {total:,} accounted for; this is a defect, report it."
        )


def report_of(counts: Mapping[str, Any]) -> Report:
    """Says what became of one day's rows."""
    numbers = {name: counts[name] for name in ("rows", *OUTCOMES)}
    if counts["closed"]:
        return Report(f"{counts['day']}: closed, no logs.", numbers)
    warning = f" WARNING: {'; '.join(counts['warnings'])}." if counts["warnings"] else ""
    told = ", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES if counts[name])
    return Report(f"{counts['day']}: {counts['rows']:,} rows: {told or 'nothing'}.{warning}", numbers)


@dataclass
class Account:
    """Sums over days."""

    days: int = 0
    closed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    event_types: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return sum(self.outcomes.values())

    def add(self, day: Artifact) -> None:
        counts = day.json("counts.json")
        self.days, self.closed = self.days + 1, self.closed + counts["closed"]
        self.outcomes.update({name: counts[name] for name in OUTCOMES})
        self.rules.update(counts["rules"])
        self.event_types.update(counts["event_types"])


def account_of_run(root: Path, run_id: str, shared: Shared | None = None) -> Account:
    """Adds up the days of a run; those it only re-opened are not its own."""
    account = Account()
    for artifact in landed_of_run(root, run_id, shared).values():
        account.add(artifact)
    return account


def landed_of_run(root: Path, run_id: str, shared: Shared | None = None) -> dict[str, Artifact]:
    """Returns, by day, what a run made of its files, days over their budget among them.

    Raises: MissingInputError: no such run, or it has ingested nothing.
    """
    if not (Layout(root).runs / run_id / "run.json").exists():
        raise MissingInputError(f"There is no run {run_id} under {root}; known are the folders of {Layout(root).runs}.")
    days = Run.open(root, run_id, "UTC", shared=shared).artifacts("ingest", LANDED)
    if not days:
        raise MissingInputError(
            f"Run {run_id} has ingested nothing yet; run `python -m pipeline ingest --run {run_id}`."
        )
    return dict(sorted(days.items()))


def as_markdown(account: Account) -> str:
    """Returns outcomes, then the rules that took rows, then the types of the clean ones."""
    shown = [("outcome", "rows"), *((name, account.outcomes[name]) for name in OUTCOMES), ("rows in all", account.rows)]
    rules = [("rule", "rows"), *((name, count) for name, count in account.rules.items() if count)]
    types = [("type of clean event", "rows"), *sorted(account.event_types.items())]
    head = f"{account.days} days, {account.closed} of them closed."
    return "\n\n".join([head, *(_table(rows) for rows in (shown, rules, types))])


def _table(rows: list[tuple[str, object]]) -> str:
    lines = [f"| {name} | {count:,} |" if isinstance(count, int) else f"| {name} | {count} |" for name, count in rows]
    return "\n".join([lines[0], "|---|---:|", *lines[1:]])
