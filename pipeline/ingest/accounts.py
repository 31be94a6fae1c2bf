"""Adds up what became of every row of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import MissingInputError
from pipeline.core.run import Layout, Run
from pipeline.ingest.rules import OUTCOMES


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


def account_of_run(root: Path, run_id: str) -> Account:
    """Raises: MissingInputError: no such run, or it has ingested nothing."""
    if not (Layout(root).runs / run_id / "run.json").exists():
        raise MissingInputError(f"There is no run {run_id} under {root}; known are the folders of {Layout(root).runs}.")
    days = Run.open(root, run_id, "UTC").artifacts("ingest")
    if not days:
        raise MissingInputError(
            f"Run {run_id} has ingested nothing yet; run `python -m pipeline ingest --run {run_id}`."
        )
    account = Account()
    for artifact in days.values():
        account.add(artifact)
    return account


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
