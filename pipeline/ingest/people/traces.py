"""Where ingest's artifacts hold a person: as the user of a row, or behind an anonymous row of one of their sessions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.artifacts import Artifact
from pipeline.core.pseudonyms import PATTERN
from pipeline.ingest.writing import stored_rows

ROWS, REFUSED = ("events.parquet", "routed.parquet"), "quarantine.parquet"
_PSEUDONYM = re.compile(PATTERN)


@dataclass(frozen=True)
class Person:
    """Somebody to forget.

    Attributes:
        names: their pseudonyms, one a key.
        sessions: pseudonyms of the sessions they were seen in.
        user_column: what the logs call the user, by which a quarantined row is known to name none.
    """

    names: frozenset[str]
    sessions: frozenset[str] = frozenset()
    user_column: str = ""

    @cached_property
    def _sets(self) -> tuple[pa.Array, pa.Array]:
        return pa.array(sorted(self.names), pa.string()), pa.array(sorted(self.sessions), pa.string())

    def rows(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Returns which rows of a batch of events are theirs; a session's rows of another user are not."""
        names, sessions = self._sets
        user, session = batch.column("user_id"), batch.column("session_id")
        return pc.or_(pc.is_in(user, names), pc.and_(pc.is_null(user), pc.is_in(session, sessions)))

    def refused(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Returns which quarantined rows are theirs: those that name them, or their session and nobody else."""
        column = batch.column("row")
        suspects = pa.array([False] * len(column))
        for name in (*self.names, *self.sessions):
            suspects = pc.or_(suspects, pc.match_substring(column, name))
        found = suspects.to_pylist()
        for place in pc.indices_nonzero(suspects).to_pylist():
            found[place] = self._is_theirs(column[place].as_py())
        return pa.array(found, pa.bool_())

    def _is_theirs(self, text: str) -> bool:
        said = set(_PSEUDONYM.findall(text))
        return bool(said & self.names) or _nobody_else(text, said, self)


def _nobody_else(text: str, said: set[str], person: Person) -> bool:
    row = json.loads(text)
    return row[person.user_column] is None if person.user_column in row else said <= person.sessions


def sessions_of(artifact: Artifact, names: Iterable[str]) -> set[str]:
    """Returns the sessions a day's rows name together with this person."""
    wanted, found = pa.array(sorted(names), pa.string()), set()
    for name in ROWS:
        for batch in stored_rows(artifact.file(name), ["user_id", "session_id"]):
            seen = batch.filter(pc.is_in(batch.column("user_id"), wanted)).column("session_id")
            found.update(seen.drop_null().to_pylist())
    return found


def count(artifact: Artifact, person: Person) -> dict[str, int]:
    """Returns how many rows of each file are theirs; empty when none is."""
    files = {name: person.rows for name in ROWS} | {REFUSED: person.refused}
    counts = {
        name.removesuffix(".parquet"): sum(
            pc.sum(mask(batch)).as_py() or 0
            for batch in stored_rows(artifact.file(name), ["row"] if name == REFUSED else ["user_id", "session_id"])
        )
        for name, mask in files.items()
    }
    return counts if any(counts.values()) else {}


def key_id_of(artifact: Artifact) -> str | None:
    """Returns the id of the key an artifact's people are called by, `?` for one that states none; None for nobody."""
    for name in ROWS:
        for batch in stored_rows(artifact.file(name), ["user_id", "session_id"]):
            for column in batch.columns:
                named = column.drop_null()
                if len(named):
                    return str(named[0]).rpartition(".")[2] if _PSEUDONYM.fullmatch(str(named[0])) else "?"
    return None
