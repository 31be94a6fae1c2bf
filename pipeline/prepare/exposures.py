"""Goods that were shown in a session before a target and that nobody in it chose, neither before nor after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.schema import EVENT_TYPES, MOST_EXPOSED
from pipeline.prepare.arrays import Columns, new_array
from pipeline.prepare.log import ITEMS, POSITIVE, SESSIONS, Log
from pipeline.prepare.window import Partition
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

TYPES = {"session": np.int32, "item": np.int32, "shown_us": np.int64}


@dataclass(frozen=True)
class Exposures:
    """One row for each session and item, ordered by session, then when it was first shown, then item.

    Attributes:
        session: int32, the log's code. item: int32, the vocabulary's index. shown_us: int64.
    """

    session: np.ndarray
    item: np.ndarray
    shown_us: np.ndarray

    def before(self, log: Log, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 [rows], where the newest exposures before each event begin, and how many they are."""
        begins, high = (np.searchsorted(self.session, log.session[rows], side) for side in ("left", "right"))
        low = begins
        while (open_ := low < high).any():
            middle = np.where(open_, (low + high) // 2, 0)
            earlier = self.shown_us[middle] < log.time_us[rows]
            low, high = np.where(open_ & earlier, middle + 1, low), np.where(open_ & ~earlier, middle, high)
        lengths = np.minimum(low - begins, MOST_EXPOSED)
        return low - lengths, lengths


def read_exposures(
    engine: Engine, partitions: Sequence[Partition], index: np.ndarray, end: datetime, folder: Path
) -> Exposures:
    """Reads what was shown before the end and not chosen by then, into arrays that lie in `folder`.

    The engine still holds the names that `log` coded.

    Args: index: int32, the vocabulary's index of each of the log's items, 0 for those it lacks.
    """
    import pyarrow as pa

    with Columns(folder, TYPES) as columns:
        for batch in engine.ask(_unchosen(engine, partitions, end)):
            items = index[batch["item"].to_numpy()]
            shown_us = batch["shown"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
            for name, values in (("session", batch["session"].to_numpy()), ("item", items), ("shown_us", shown_us)):
                columns.append(name, values[items > 0])
    return Exposures(**columns.mapped())


def _unchosen(engine: Engine, partitions: Sequence[Partition], end: datetime) -> ir.Table:
    events = engine.read([p.path("events.parquet") for p in partitions])
    events = events.filter(events.event_time < end)
    coded = events.select("session_id", "item_id", "event_type", "event_time")
    for name, column, short in ((SESSIONS, "session_id", "session"), (ITEMS, "item_id", "item")):
        coded = coded.inner_join(engine.table(name).rename({short: "code"}), column)
    chosen = coded.filter(coded.event_type.isin([EVENT_TYPES[code] for code in POSITIVE]))
    impressions = coded.filter(coded.event_type == "impression").anti_join(chosen, ["session", "item"])
    moment = impressions.event_time.cast("timestamp('UTC', 6)").min()
    return impressions.group_by("session", "item").agg(shown=moment).order_by("session", "shown", "item")


def write_exposed(
    shown: Exposures, log: Log, targets: Callable[[], Iterator[np.ndarray]], count: int, folder: Path
) -> int:
    """Writes the exposures of each target end to end, oldest first, where each target's begin, and returns how many.

    Args: targets: yields the rows of all targets, some at a time.
    """
    offsets = new_array(folder / "exposed_offsets.npy", np.int64, count + 1)
    at = 0
    for rows in targets():
        _, lengths = shown.before(log, rows)
        offsets[at + 1 : at + 1 + len(rows)] = offsets[at] + np.cumsum(lengths)
        at += len(rows)
    items = new_array(folder / "exposed_items.npy", np.int32, int(offsets[-1]))
    at = 0
    for rows in targets():
        begins, lengths = shown.before(log, rows)
        total = int(lengths.sum())
        places = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(total)
        items[at : at + total] = shown.item[places]
        at += total
    return at
