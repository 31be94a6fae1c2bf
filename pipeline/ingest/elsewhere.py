"""Counts the rows of a day's files that belong to other days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

import numpy as np
import pyarrow as pa

from pipeline.core.days import Days, start_of_day
from pipeline.ingest.asked import Asked


class Elsewhere:
    """Counts, while they are written, the rows that belong to other days of the shop than their file's."""

    def __init__(self, asked: Asked, shop_zone: str) -> None:
        reach = Days(asked.oldest.date() - timedelta(days=2), asked.horizon.date() + timedelta(days=2))
        self._days = [str(day) for day in reach]
        begins = [start_of_day(day, shop_zone) for day in reach]
        self._begins = pa.array(begins, pa.timestamp("us", "UTC")).cast("int64").to_numpy()
        self._rows = np.zeros(len(self._days), np.int64)

    def counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            times = batch.column("event_time").cast(pa.timestamp("us", "UTC")).cast("int64").to_numpy()
            places = np.searchsorted(self._begins, times, side="right") - 1
            self._rows += np.bincount(places, minlength=len(self._rows))
            yield batch

    def days(self) -> dict[str, int]:
        return {day: int(rows) for day, rows in zip(self._days, self._rows, strict=True) if rows}
