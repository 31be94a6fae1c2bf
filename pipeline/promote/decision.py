"""What the gate decided, as `promote` reads it: bound to one bundle and to the champion it was judged against."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import digest_of
from pipeline.core.errors import CorruptArtifactError, MissingInputError
from pipeline.core.run import Run
from pipeline.store.ledger import Entry

SCHEMA_VERSION = 1
OUTCOMES = ("pass", "fail", "inconclusive")


@dataclass(frozen=True)
class Decision:
    """One verdict of the gate.

    Attributes:
        raw: the record as the gate wrote it.
        fingerprint: digest of the record; a decision given anew has another.
    """

    path: Path
    raw: Mapping[str, Any]
    fingerprint: str

    @classmethod
    def load(cls, run: Run) -> Decision:
        """Raises: MissingInputError: the gate did not decide yet. CorruptArtifactError: the record is not one."""
        path = run.folder / "decision" / "decision.json"
        again = f"run `python -m pipeline gate --run {run.run_id}`"
        try:
            raw = json.loads(path.read_text())
            decision = cls(path, raw, digest_of(raw))
            whole = decision._is_whole()
        except FileNotFoundError:
            raise MissingInputError(f"{path}: run {run.run_id} has no decision yet; {again} first.") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(f"{path}: this is no decision record ({error!r}); {again}.") from None
        if not whole:
            raise CorruptArtifactError(
                f"{path}: has schema version {raw['schema_version']!r} and outcome {raw['outcome']!r}, expected "
                f"{SCHEMA_VERSION} and one of {', '.join(OUTCOMES)}; {again}."
            )
        return decision

    def _is_whole(self) -> bool:
        """Tells whether its words are known; raises where a field is missing, before anything is done by it."""
        _ = (self.digest, self.version, self.data_end, self.sentence, self.champion_digest, self.champion_sequence)
        _ = [(gate["gate"], gate["verdict"]) for gate in self.gates], self.moves_nothing, self.facts()
        return self.raw["schema_version"] == SCHEMA_VERSION and self.outcome in OUTCOMES

    @property
    def outcome(self) -> str:
        return self.raw["outcome"]

    @property
    def sentence(self) -> str:
        return self.raw["sentence"]

    @property
    def digest(self) -> str:
        return self.raw["challenger"]["digest"]

    @property
    def version(self) -> str:
        """Of the registered model; empty when nothing was registered."""
        return _text(self.raw["challenger"]["version"])

    @property
    def data_end(self) -> str:
        return self.raw["data_end"]

    @property
    def champion_digest(self) -> str:
        """The champion it was judged against; empty for a first model."""
        return (self.raw["champion"] or {"digest": ""})["digest"]

    @property
    def champion_sequence(self) -> int:
        """The ledger entry that made that champion; 0 for a first model."""
        return (self.raw["champion"] or {"sequence": 0})["sequence"]

    @property
    def gates(self) -> list[dict[str, Any]]:
        return self.raw["gates"]

    @property
    def moves_nothing(self) -> bool:
        """The gate judged a dry run or a backfill."""
        return bool(self.raw["backfill"] or self.raw["dry_run"])

    def open_gates(self) -> list[dict[str, Any]]:
        """Returns the gates that failed or could not tell."""
        return [gate for gate in self.gates if gate["verdict"] in ("fail", "inconclusive")]

    def judged_against(self, champion: Entry | None) -> bool:
        """Tells whether it was judged against the champion that stands now, by bundle and by ledger entry."""
        stands = (champion.to_digest, champion.sequence) if champion else ("", 0)
        return (self.champion_digest, self.champion_sequence) == stands

    def facts(self) -> dict[str, Any]:
        """Returns what a ledger entry keeps of it."""
        kept = ("gate", "metric", "slice", "challenger", "champion", "low", "high", "n", "verdict")
        return {
            "decision": self.fingerprint,
            "verdict": self.outcome,
            "as_of": self.raw["as_of"],
            "gates": [{name: gate.get(name) for name in kept} for gate in self.gates],
        }


def _text(value: Any) -> str:
    return "" if value is None else str(value)
