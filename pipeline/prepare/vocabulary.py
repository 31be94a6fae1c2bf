"""Which items the model knows, and by which index.

An item belongs when it had an event in training within the last `prepare.forget_item_days` days of it (0: ever), and is
either known from the vocabulary before or has `prepare.min_item_events`. Who stays keeps the index, so that a model may
take over what it learned of it. What those who leave leave vacant goes to new items, most events first; if there are
not enough of them, the items with the highest indices move down, for indices run from 1 to n without a gap.

The vocabulary before is that of the newest run whose last day lies before this one's last day, so a repeated night
finds the same one. One that learned from events later than this training may is none: its indices, and a model trained
with them, know of this night's validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact
from pipeline.store.partitions import Partitions, Record

if TYPE_CHECKING:
    from pipeline.core.run import Run

STAGE = "prepare"


@dataclass(frozen=True)
class Base:
    """The vocabulary this one grows from.

    Attributes:
        digest: of the whole artifact.
    """

    day: date
    artifact: Artifact
    digest: str

    @property
    def learned_until(self) -> datetime:
        return datetime.fromisoformat(self.artifact.json("split.json")["validation_start"])

    def item_ids(self) -> pa.Array:
        """Returns the items, by index - 1."""
        table = parquet.read_table(self.artifact.file("items.parquet"), columns=["index", "item_id"])
        return table.sort_by("index")["item_id"].cast(pa.large_string()).combine_chunks()


@dataclass(frozen=True)
class Vocabulary:
    """Items by index - 1.

    Attributes:
        codes: int64 [items], the log's item code.
        previous: int32 [items], the index in the vocabulary before, 0 for a new item.
        left: how many items of the vocabulary before are not in this one.
    """

    codes: np.ndarray
    previous: np.ndarray
    left: int

    def __len__(self) -> int:
        return len(self.codes)

    def counts(self) -> dict[str, int]:
        """Returns how many items stayed, came, left, and of those that stayed, how many were given another index."""
        stayed = self.previous > 0
        moved = stayed & (self.previous != np.arange(1, len(self) + 1))
        return {
            "items_kept": int(stayed.sum()),
            "items_new": int((~stayed).sum()),
            "items_left": self.left,
            "items_moved": int(moved.sum()),
        }

    def indices(self, items: int) -> np.ndarray:
        """Returns int32 [items of the log], the index of each, 0 for those outside."""
        index = np.zeros(items, np.int32)
        index[self.codes] = np.arange(1, len(self) + 1, dtype=np.int32)
        return index


def grow(names: Any, counts: np.ndarray, recent: np.ndarray, least_events: int, base: pa.Array | None) -> Vocabulary:
    """Applies the rules above.

    Args:
        names: the log's items by code, in their order.
        counts, recent: int64 [items of the log], training events, and those too late to be forgotten.
        base: item ids by index - 1.
    """
    before = pa.array([], pa.large_string()) if base is None else base
    place = pc.index_in(names.cast(pa.large_string()), value_set=before).fill_null(-1).to_numpy()
    previous = place.astype(np.int64) + 1
    belongs = (recent > 0) & ((previous > 0) | (counts >= least_events))
    kept, new = np.flatnonzero(belongs & (previous > 0)), np.flatnonzero(belongs & (previous == 0))
    new = new[np.argsort(-counts[new], kind="stable")]
    size = len(kept) + len(new)
    free = np.setdiff1d(np.arange(1, max(size, len(before)) + 1), previous[kept])
    codes = np.zeros(size, np.int64)
    stays = previous[kept] <= size
    codes[previous[kept[stays]] - 1] = kept[stays]
    codes[free[: len(new)] - 1] = new
    movers = kept[~stays][np.argsort(previous[kept[~stays]])]
    codes[free[len(new) : len(new) + len(movers)] - 1] = movers
    return Vocabulary(codes, previous[codes].astype(np.int32), len(before) - len(kept))


def newest_base(run: Run, vocabularies: Partitions) -> Base | None:
    """Returns the vocabulary of the newest earlier last day that is still in the store."""
    for day in reversed(vocabularies.days()):
        record = vocabularies.read(day) if day < run.days.last else None
        if record is None:
            continue
        if run.has(STAGE, record["prepare_key"]):
            return Base(day, Artifact(run.layout.artifact(STAGE, record["prepare_key"])), record.digest)
    return None


def point_to(run: Run, vocabularies: Partitions, made: Artifact) -> None:
    """Makes this run's vocabulary the one of its last day.

    Raises: BusyError: another run of this day did so at the same moment.
    """
    day = run.days.last
    fields = {"day": str(day), "prepare_key": made.key, "digest": made.digest, "run_id": run.run_id}
    present = vocabularies.read(day)
    if present is None or (present["prepare_key"], present.digest) != (made.key, made.digest):
        vocabularies.switch(day, Record(fields), present)
