"""Events as lines of the shop's own log: raw person ids, its own names for columns and actions."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from pipeline.simulate.shop import Shelf
from pipeline.simulate.visits import SEARCH, TYPES, Events

COLUMNS = ("time", "user", "session", "action", "item", "query", "price", "quantity")
HEADER = ",".join(COLUMNS).encode()


class Renderer:
    """Turns numbers into the text of one day's log."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.day = shelf, shelf.day
        self.items = shelf.ids.to_pylist()
        self.prices = pa.array([f"{price:.2f}" for price in shelf.prices])
        self.queries = pa.concat_arrays([pc.cast(q, pa.string()) for q in shelf.queries])
        self.midnight = datetime.combine(self.day, datetime.min.time(), UTC)

    def time_text(self, second: int) -> str:
        return (self.midnight + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def lines(self, events: Events) -> list[bytes]:
        """Returns one line an event, without line ends."""
        buffer = io.BytesIO()
        options = pv.WriteOptions(include_header=False, quoting_style="none")
        pv.write_csv(self._table(events), buffer, options)
        return buffer.getvalue().splitlines()

    def _table(self, events: Events) -> pa.Table:
        search = pa.array(events.kind == SEARCH)
        no_text = pa.scalar(None, pa.string())
        item, slot = self.shelf.ids, pa.array(events.slot)
        asked = pa.array(np.maximum(events.wording, 0) * len(item) + events.slot)
        columns = [
            self._times(events.seconds),
            _numbered("user", events.user),
            _numbered(f"visit{self.day:%Y%m%d}x", events.session),
            pa.array(TYPES).take(pa.array(events.kind)),
            pc.if_else(search, no_text, item.take(slot)),
            pc.if_else(search, self.queries.take(asked), no_text),
            pc.if_else(search, no_text, self.prices.take(slot)),
            pa.array(events.quantity, mask=events.quantity < 0).cast(pa.string()),
        ]
        return pa.table(columns, names=list(COLUMNS))

    def _times(self, seconds: np.ndarray) -> pa.StringArray:
        moments = pa.array(seconds + int(self.midnight.timestamp())).cast(pa.timestamp("s"))
        return pc.strftime(moments, "%Y-%m-%dT%H:%M:%SZ")


def _numbered(word: str, numbers: np.ndarray) -> pa.StringArray:
    return pc.binary_join_element_wise(word, pa.array(numbers, mask=numbers < 0).cast(pa.string()), "")


def at_second(text: str) -> datetime:
    """Reads a time this log writes."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def file_names(day: date) -> dict[str, str]:
    """Returns the names of one day's files by what they hold."""
    return {"events": f"events-{day}.csv.gz", "catalogue": f"catalogue-{day}.csv.gz", "truth": f"truth-{day}.json"}
