"""Which items the model knows, and by which index.

An item is learnt when it had an event in training within the last `prepare.forget_item_days` days of it (0: ever), and
either was learnt in the vocabulary before or has `prepare.min_item_events`. Any other belongs while the catalogue lists
it (`prepare.listed_days`), known by its content alone: whatever events it had stay out of training. Who stays keeps the
index, learnt or not, so that a model may take over what it learned of it. What those who leave leave vacant goes to new
items, most events first, then by name; if there are not enough of them, the items with the highest indices move down,
for indices run from 1 to n without a gap.

The vocabulary before is that of the newest run whose last day lies before this one's last day, so a repeated night
finds the same one. One that learned from events later than this training may is none: its indices, and a model trained
with them, know of this night's validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from pipeline.core.artifacts import Artifact
from pipeline.store.partitions import Partitions, Record

if TYPE_CHECKING:
    from pipeline.core.run import Run

STAGE = "prepare"
NOBODY = pa.schema({"item_id": pa.large_string(), "events": pa.int64()}).empty_table()
"""The vocabulary before where there is none."""


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

    def items(self) -> pa.Table:
        """Returns `item_id` and `events` by index - 1."""
        table = parquet.read_table(self.artifact.file("items.parquet"), columns=["index", *NOBODY.column_names])
        return table.sort_by("index").select(NOBODY.column_names).cast(NOBODY.schema).combine_chunks()


@dataclass(frozen=True)
class Vocabulary:
    """Items by index - 1.

    Attributes:
        names: their ids.
        codes: int64 [items], the log's item code; -1 for one that is listed and not learnt.
        previous: int32 [items], the index in the vocabulary before, 0 for a new item.
        left: how many items of the vocabulary before are not in this one.
    """

    names: pa.Array
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
        """Returns int32 [items of the log], the index of each, 0 for those that are not learnt."""
        index = np.zeros(items, np.int32)
        learnt = np.flatnonzero(self.codes >= 0)
        index[self.codes[learnt]] = learnt + 1
        return index

    def of_each(self, values: np.ndarray, otherwise: int) -> np.ndarray:
        """Returns what holds of each, given what holds of the log's items, and of those that are not learnt."""
        return np.append(values, otherwise)[self.codes]


def grow(
    names: pa.Array, counts: np.ndarray, recent: np.ndarray, least_events: int, base: pa.Table, listed: pa.Array
) -> Vocabulary:
    """Applies the rules above.

    Args:
        names: the log's items by code, in their order.
        counts, recent: int64 [items of the log], training events, and those too late to be forgotten.
        base: as `Base.items`, or `NOBODY`.
        listed: ids of the items that the catalogue lists, in their order.
    """
    names, before = names.cast(pa.large_string()), base["item_id"].combine_chunks()
    learnt_before = before.filter(pc.greater(base["events"], 0).combine_chunks())
    was_learnt = pc.is_in(names, value_set=learnt_before).to_numpy(zero_copy_only=False)
    learnt = np.flatnonzero((recent > 0) & (was_learnt | (counts >= least_events)))
    only_listed = listed.filter(pc.invert(pc.is_in(listed, value_set=names.take(learnt))))
    belong = pa.concat_arrays([names.take(learnt), only_listed])
    codes, events = (np.append(each, np.full(len(only_listed), -1)) for each in (learnt, counts[learnt]))
    previous = pc.index_in(belong, value_set=before).fill_null(-1).to_numpy().astype(np.int64) + 1
    order = _order(previous, events, len(before))
    kept = int((previous > 0).sum())
    return Vocabulary(belong.take(order), codes[order], previous[order].astype(np.int32), len(before) - kept)


def _order(previous: np.ndarray, events: np.ndarray, size_before: int) -> np.ndarray:
    """Returns int64, which of the items has each index."""
    kept, new = np.flatnonzero(previous > 0), np.flatnonzero(previous == 0)
    new = new[np.argsort(-events[new], kind="stable")]
    size = len(previous)
    free = np.setdiff1d(np.arange(1, max(size, size_before) + 1), previous[kept])
    order = np.zeros(size, np.int64)
    stays = previous[kept] <= size
    order[previous[kept[stays]] - 1] = kept[stays]
    order[free[: len(new)] - 1] = new
    movers = kept[~stays][np.argsort(previous[kept[~stays]])]
    order[free[len(new) : len(new) + len(movers)] - 1] = movers
    return order


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
