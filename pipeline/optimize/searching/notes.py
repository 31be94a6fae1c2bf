"""What a run remembers of its search, so that parts, retries and the choice act as one, whichever process they are.

`runs/<run>/optimize/search.json` says when the search began, `recipes/<recipe>.json` what became of a recipe.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import write_beside
from pipeline.core.locks import in_turn
from pipeline.optimize.searching.failures import first_line, passes


@dataclass(frozen=True)
class Note:
    """What is known of a recipe.

    Attributes:
        key: of the artifact it was to make; under another key the note says nothing.
        begun: how often a process began it and was heard of no more.
        made: in this search, so forcing need not make it again.
        failed: the sentence it failed with; empty where it did not.
    """

    key: str
    begun: int = 0
    made: bool = False
    failed: str = ""


class Notes:
    """The notes of one search.

    Args:
        key: what is searched; a search for something else begins anew.
        afresh: a search that came to its end begins anew as well.
    """

    def __init__(self, folder: Path, key: str, afresh: bool) -> None:
        self.folder, self.key = folder, key
        with in_turn(folder / "search.lock"):
            known = _read(self._search)
            if known.get("key") != key or (afresh and known.get("ended")):
                shutil.rmtree(folder / "recipes", ignore_errors=True)
                self._write_search(began=None, ended=False)

    def minutes(self) -> float:
        """Returns how long ago the search began; the first call begins it."""
        with in_turn(self.folder / "search.lock"):
            began = _read(self._search).get("began")
            if began is None:
                began = datetime.now(UTC).isoformat()
                self._write_search(began=began, ended=False)
        return (datetime.now(UTC) - datetime.fromisoformat(began)).total_seconds() / 60

    def end(self) -> None:
        """Notes that a choice was made."""
        with in_turn(self.folder / "search.lock"):
            self._write_search(began=_read(self._search).get("began"), ended=True)

    def of(self, recipe: str, key: str) -> Note:
        known = _read(self._file(recipe))
        return Note(**known) if known.get("key") == key else Note(key)

    @contextmanager
    def trying(self, recipe: str, key: str) -> Iterator[None]:
        """Notes what becomes of the block: made, failed, or never heard of again.

        What may end otherwise when tried again, as a full disk or a person's Ctrl-C, leaves no note.
        """
        before = self.of(recipe, key)
        self._note(recipe, replace(before, begun=before.begun + 1, failed="", made=False))
        try:
            yield
        except Exception as error:
            self._note(recipe, replace(before, failed="" if passes(error) else first_line(error)))
            raise
        except BaseException:
            self._note(recipe, before)
            raise
        self._note(recipe, Note(key, made=True))

    @property
    def _search(self) -> Path:
        return self.folder / "search.json"

    def _write_search(self, **fields: Any) -> None:
        write_beside(self._search, json.dumps({"key": self.key, **fields}))

    def _file(self, recipe: str) -> Path:
        return self.folder / "recipes" / f"{recipe}.json"

    def _note(self, recipe: str, note: Note) -> None:
        write_beside(self._file(recipe), json.dumps(asdict(note)))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
