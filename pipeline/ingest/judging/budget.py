"""How much of a day may be refused: overall, by rule, and as rows that belong to other days."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings
from pipeline.ingest.judging.rules import Rule
from pipeline.ingest.profiles.profile import Profile, nearest

FirstTakenBy = Callable[[str], str]


class Budget:
    """The shares the settings allow, held against what became of a day's rows.

    Raises: SettingsError: a share is set for a rule that is not there.
    """

    def __init__(self, settings: Settings, profile: Profile, rules: Sequence[Rule]) -> None:
        self.limits, self.profile, self.zone = settings.ingest, profile, settings.shop.timezone
        self.rules = {rule.name: rule for rule in rules}
        for setting in ("rule_warn_share", "rule_fail_share"):
            for name in getattr(self.limits, setting):
                if name not in self.rules:
                    raise SettingsError(f"ingest.{setting} names no rule {name}{nearest(name, self.rules)}")

    def judge(self, counts: Mapping[str, Any], first_taken_by: FirstTakenBy) -> dict[str, Any]:
        """Returns `over_budget`, the sentence that fails the day or nothing, and `warnings`.

        Args:
            first_taken_by: returns file and row of the first row a rule took.
        """
        failures = (
            self._too_much_refused(counts, first_taken_by)
            or self._too_much_by_a_rule(counts, first_taken_by)
            or self._too_much_elsewhere(counts)
        )
        return {"over_budget": failures, "warnings": self._warnings(counts)}

    def _exceeds(self, taken: int, rows: int, share: float) -> bool:
        return taken >= self.limits.quarantine_min_rows and taken > share * rows

    def _too_much_refused(self, counts: Mapping[str, Any], first_taken_by: FirstTakenBy) -> str:
        refused, rows, allowed = counts["quarantined"], counts["rows"], self.limits.quarantine_fail_share
        if not self._exceeds(refused, rows, allowed):
            return ""
        judging = (rule for rule in self.rules.values() if rule.outcome == "quarantined")
        worst = max(judging, key=lambda rule: counts["rules"][rule.name])
        return (
            f"{counts['day']}: {refused:,} of {rows:,} rows were refused ({refused / rows:.1%}), more than "
            f"ingest.quarantine_fail_share allows ({allowed:.1%}); most by rule {worst.name} "
            f"({counts['rules'][worst.name]:,}: {worst.doc.rstrip('.')}), first in {first_taken_by(worst.name)}; "
            f"correct the file or the profile."
        )

    def _too_much_by_a_rule(self, counts: Mapping[str, Any], first_taken_by: FirstTakenBy) -> str:
        rows = counts["rows"]
        for name, allowed in sorted(self.limits.rule_fail_share.items()):
            taken = counts["rules"][name]
            if self._exceeds(taken, rows, allowed):
                return (
                    f"{counts['day']}: rule {name} took {taken:,} of {rows:,} rows ({taken / rows:.1%}: "
                    f"{self.rules[name].doc.rstrip('.')}), more than ingest.rule_fail_share allows it ({allowed:.1%}); "
                    f"first in {first_taken_by(name)}; correct the file, the profile or the share."
                )
        return ""

    def _too_much_elsewhere(self, counts: Mapping[str, Any]) -> str:
        """A file of many days is read for one of them, so only files of one day can be of the wrong one."""
        routed, rows, allowed = counts["routed"], counts["rows"], self.limits.max_routed_share
        if self.profile.events.file_covers != "day" or not self._exceeds(routed, rows, allowed):
            return ""
        other, most = max(counts["routed_days"].items(), key=lambda found: (found[1], found[0]))
        return (
            f"{counts['day']}: {routed:,} of {rows:,} rows belong to other days ({routed / rows:.1%}, {most:,} to "
            f"{other}), more than ingest.max_routed_share allows ({allowed:.1%}); the zone of the profile "
            f"({self.profile.events.time.zone}) or of the shop ({self.zone}) is probably wrong, or the file is "
            f"another day's."
        )

    def _warnings(self, counts: Mapping[str, Any]) -> list[str]:
        rows, limits = max(counts["rows"], 1), self.limits
        told = []
        if counts["quarantined"] > limits.quarantine_warn_share * rows:
            share = counts["quarantined"] / rows
            told.append(f"{share:.1%} of the rows were refused, more than ingest.quarantine_warn_share")
        for name, allowed in sorted(limits.rule_warn_share.items()):
            share = counts["rules"][name] / rows
            if share > allowed:
                told.append(f"rule {name} took {share:.1%} of the rows, more than ingest.rule_warn_share allows it")
        return told
