"""Replay: after a fix, only days that hold quarantined rows are read from the source again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pipeline.core.errors import UsageError
from pipeline.ingest.judging.rules import rules_of
from pipeline.ingest.profiles.profile import Profile, nearest
from pipeline.store.partitions import Record

EVERY_RULE = "all"


class Replay:
    """Which days of a run keep what landed.

    Args:
        wanted: `all`, the rule whose rows are asked for, or nothing: then every day is looked at.

    Raises: UsageError: there is no such rule, or it quarantines nothing.
    """

    def __init__(self, wanted: str, profile: Profile) -> None:
        self.wanted = wanted
        rules = rules_of(profile)
        self.rules = [rule.name for rule in rules if rule.outcome == "quarantined"]
        for rule in rules:
            if rule.name == wanted and rule.outcome != "quarantined":
                raise UsageError(
                    f"Rule {wanted} quarantines nothing, its rows end as {rule.outcome}; replay one of "
                    f"{', '.join(self.rules)}, or `all`."
                )
        if wanted and wanted not in (EVERY_RULE, *self.rules):
            raise UsageError(f"There is no rule {wanted} to replay{nearest(wanted, [EVERY_RULE, *self.rules])}")

    def quarantined(self, rules: Mapping[str, int]) -> dict[str, int]:
        """Returns how many rows each rule put into quarantine, those that took some."""
        return {name: rules[name] for name in self.rules if rules.get(name)}

    def keeps(self, record: Record) -> bool:
        """Says whether a day stays as it landed, its source not even looked at."""
        if not self.wanted:
            return False
        held = record["quarantined"]
        return not (held if self.wanted == EVERY_RULE else held.get(self.wanted))

    def tell(self, day: date, before: Record | None, counts: Mapping[str, Any]) -> None:
        """Prints what the replay of one day changed, rule by rule."""
        if not self.wanted:
            return
        after = self.quarantined(counts["rules"])
        if before is None:
            changes = [f"had not landed; now {name} {rows:,}" for name, rows in sorted(after.items())]
        else:
            held = before["quarantined"]
            changes = [f"{name} {held.get(name, 0):,} -> {after.get(name, 0):,}" for name in sorted(held | after)]
        print(f"replay {day}: {', '.join(changes) or 'nothing in quarantine'}", flush=True)
