"""What is kept of a day for the days after it: small figures, so that no night reads a trailing day's events again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

FILE = "summaries.json"
VERSION = 1

Bins = dict[str, int]


@dataclass(frozen=True)
class Summary:
    """Figures of one open day; nothing in it speaks of a person.

    Attributes:
        hours: events by whole hours since the shop's midnight: 24 of them, 23 or 25 where the clocks change.
        visitors: how many different people, or sessions of unknown ones, were there in each of these hours.
        distributions: of each table and column, rows by bin, the bins in their order.
        null_shares: of each table and column.
        items: rows of the day's catalogue.
    """

    day: date
    rows: int
    hours: tuple[int, ...]
    visitors: tuple[int, ...]
    distributions: Mapping[str, Mapping[str, Bins]] = field(default_factory=dict)
    null_shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    items: int = 0

    def bins(self, table: str, column: str) -> Bins:
        return self.distributions.get(table, {}).get(column, {})

    @property
    def pattern(self) -> tuple[Any, ...]:
        """What two days have in common only if one is a copy of the other."""
        own = self.distributions.get("events", {})
        # Categories are the catalogue's, which may differ on the day a copy is delivered.
        return self.rows, self.hours, tuple((name, tuple(own[name].items())) for name in own if name != "category")


def write_summaries(folder: Path, summaries: Iterable[Summary]) -> None:
    days = {str(each.day): {**asdict(each), "day": str(each.day)} for each in summaries}
    (folder / FILE).write_text(json.dumps({"version": VERSION, "days": days}, separators=(",", ":")))


def read_summaries(content: Mapping[str, Any]) -> dict[date, Summary]:
    """Returns every day's summary; none from a file of another version, whose days are then summed up anew."""
    if content.get("version") != VERSION:
        return {}
    return {date.fromisoformat(day): _summary(day, entry) for day, entry in content["days"].items()}


def _summary(day: str, entry: Mapping[str, Any]) -> Summary:
    hours, visitors = tuple(entry["hours"]), tuple(entry["visitors"])
    return Summary(**{**entry, "day": date.fromisoformat(day), "hours": hours, "visitors": visitors})
