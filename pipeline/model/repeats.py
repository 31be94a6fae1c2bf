"""How much likelier it is that somebody meets an item again than the likeness of vectors tells.

Two vectors say how well an item fits a history, not that somebody buys the same coffee every month: a sum of fifty
items lies near each of them and near much else. So to the score of an item that was met numbers are added: one by how
often, one by how many events ago, one by how long ago, each in bands of powers of two. They are those under which what
came next is likeliest; below zero where people do not come back to what they have.

Sources: repeating told apart from exploring, Ren et al. 2019 (RepeatNet); the choice among items as a conditional
logit, McFadden 1974, which is concave in numbers that are added to scores.

Shapes: Q queries, n items, O items met by the queries, each once a query, B bands of all three kinds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import CorruptArtifactError
from pipeline.model.features import BANDS, Query, band

KINDS = ("times_met", "events_ago", "seconds_ago")
NUMBERS = len(KINDS) * (BANDS + 1)


@dataclass(frozen=True)
class Met:
    """The known items of a query's history, each once.

    Attributes:
        rows_O: int64, item index - 1, ascending.
        bands_O3: int32, the place in the numbers of each item's bands of the three kinds.
    """

    rows_O: np.ndarray
    bands_O3: np.ndarray

    @classmethod
    def by(cls, query: Query, index: Mapping[str, int]) -> Met:
        """Args: index: item id to item index."""
        met = _met(query, index)
        places = [places for _, places in met]
        return cls(np.array([row for row, _ in met], np.int64), np.array(places, np.int32).reshape(-1, len(KINDS)))


def _met(query: Query, index: Mapping[str, int]) -> list[tuple[int, tuple[int, int, int]]]:
    """Returns rows, ascending, with the places of their bands in the numbers; numpy takes thrice as long for so few."""
    times: dict[int, int] = {}
    newest: dict[int, int] = {}
    for place, item_id in enumerate(query.item_ids):
        if met := index.get(item_id):
            times[met] = times.get(met, 0) + 1
            newest[met] = place
    count, timed = len(query.item_ids), len(query.times) > 0 and query.now is not None
    found = []
    for met in sorted(times):
        place = newest[met]
        ago = band(math.floor(query.now - query.times[place])) if timed else 0
        found.append((met - 1, (band(times[met]), BANDS + 1 + band(count - place), 2 * (BANDS + 1) + ago)))
    return found


@dataclass(frozen=True)
class Repeats:
    """What is added to the scores of items that were met.

    Attributes: numbers_B: float64, by kind and band.
    """

    numbers_B: np.ndarray

    @classmethod
    def none(cls) -> Repeats:
        return cls(np.zeros(NUMBERS))

    def added(self, query: Query, index: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 item index - 1 [O], ascending, and float64 what is added to the score of each [O].

        Nothing where a text is typed: people then say what they want.
        """
        if query.text or not self._any:
            return np.zeros(0, np.int64), np.zeros(0)
        met = Met.by(query, index)
        return met.rows_O, self.numbers_B[met.bands_O3].sum(axis=1)

    @cached_property
    def _any(self) -> bool:
        return bool(self.numbers_B.any())

    def add_to(self, scores_n: np.ndarray, query: Query, index: Mapping[str, int]) -> None:
        """Changes the scores of all items, by item index - 1, in place."""
        rows_O, added_O = self.added(query, index)
        scores_n[rows_O] += added_O

    def save(self, path: Path) -> None:
        tables = np.split(self.numbers_B, len(KINDS))
        write_beside(path, json.dumps({kind: table.tolist() for kind, table in zip(KINDS, tables, strict=True)}))

    @classmethod
    def load(cls, path: Path) -> Repeats:
        """Raises: CorruptArtifactError: the file does not hold a number for every band."""
        try:
            raw: Mapping[str, Sequence[Any]] = json.loads(path.read_text())
            numbers_B = np.concatenate([np.array(raw[kind], np.float64) for kind in KINDS])
            if len(numbers_B) != NUMBERS or not np.isfinite(numbers_B).all():
                raise ValueError(f"{len(numbers_B)} numbers")
            return cls(numbers_B)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptArtifactError(
                f"{path}: does not hold {BANDS + 1} finite numbers for each of {', '.join(KINDS)} ({error}); "
                "train the model again."
            ) from None
