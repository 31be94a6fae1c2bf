"""What a release bundle knows of its items beside their vectors: ids in index order, fields to show, popularity.

A *row* counts from 0 in index order; an item's tower index is its row + 1, since 0 pads. Items put since the bundle was
made come behind its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.breath import breathe, breaths
from pipeline.model.columns import Arrays, Column, Growing, Names, Numbers, Texts
from pipeline.model.filters import Filters
from pipeline.model.packed import read_arrays, write_arrays

COLUMNS = ("item_id", "category", "brand", "title", "price", "in_stock", "events")
SHOWN = ("title", "category", "brand", "price", "in_stock")
_KINDS: dict[str, type[Texts | Names | Numbers]] = {
    "item_id": Texts, "category": Names, "brand": Names, "title": Texts, "price": Numbers, "in_stock": Numbers,
    "events": Numbers,
}  # fmt: skip
_DTYPES = {"price": np.float64, "in_stock": np.int8, "events": np.int64}


class Catalogue:
    """Items as columns.

    Attributes:
        columns: of equal length by the names in `COLUMNS`; `category` is a path with `/` between its levels, `events`
            counts the item's events in training.
        ids: item ids by row.
        tower_index: item id -> index the towers know it by.
        filters: from what is asked for to rows.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Args: columns: plain values, or columns as they come from a file."""
        self.columns: dict[str, Column] = {name: _column(name, columns[name]) for name in COLUMNS}
        if len({len(column) for column in self.columns.values()}) != 1:
            raise ShapeError("The catalogue's columns differ in length; every item needs every field.")
        self._sealed = len(self.columns["item_id"])
        self.ids: list[str] = []
        self.tower_index: dict[str, int] = {}
        for rows in breaths(range(self._sealed)):
            self.ids += [self.columns["item_id"][row] for row in rows]
            self.tower_index.update(zip(self.ids[rows[0] :], range(rows[0] + 1, rows[-1] + 2), strict=True))
        events_n = self._numbers("events").astype(np.float64)
        shares_n = events_n / max(events_n.sum(), 1.0)
        self._by_popularity_n = np.argsort(-events_n, kind="stable")
        breathe()
        self._share, self._place = Growing(shares_n), Growing(np.argsort(self._by_popularity_n, kind="stable"))
        self._rows_by_path: dict[str, np.ndarray] = {}
        self._gone: set[int] = set()
        self._before: dict[int, dict[str, Any]] = {}
        self.filters = Filters(self)

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Raises: CorruptArtifactError: the file is not a catalogue."""
        arrays = read_arrays(path)
        breathe()
        try:
            return cls({name: _KINDS[name].from_arrays(_of(name, arrays)) for name in COLUMNS})
        except (KeyError, TypeError, ValueError, ShapeError) as error:
            raise CorruptArtifactError(f"{path}: is not a catalogue ({error!r}); make the bundle again.") from None

    def save(self, path: Path) -> None:
        """Writes a catalogue nothing was put into."""
        parts = {f"{name}.{part}": rows for name in COLUMNS for part, rows in self.columns[name].arrays().items()}
        write_arrays(path, parts)

    def __len__(self) -> int:
        return len(self.ids)

    def _numbers(self, name: str) -> np.ndarray:
        return cast(Numbers, self.columns[name]).number_n

    @property
    def price_n(self) -> np.ndarray:
        """float64, NaN where there is none."""
        return self._numbers("price")

    @property
    def sold_out_n(self) -> np.ndarray:
        """bool, True where an item is known not to be in stock."""
        return self._numbers("in_stock") == 0

    def rows_of(self, item_ids: Sequence[str]) -> set[int]:
        """Returns the rows of those ids that are known."""
        index = self.tower_index
        return {index[item_id] - 1 for item_id in item_ids if item_id in index}

    def rows_under(self, category: str) -> np.ndarray:
        """Returns int64 rows, ascending, whose category path is `category` or lies below it."""
        path = category.strip("/")
        found = self._rows_by_path.get(path)
        if found is None:
            found = self._under(path)
            if len(found):
                # Only paths that exist are kept, so what people make up does not fill the memory.
                self._rows_by_path[path] = found
        return found

    def _under(self, path: str) -> np.ndarray:
        categories = cast(Names, self.columns["category"])
        below = [
            place for place, value in enumerate(categories.values) if f"{value.strip('/')}/".startswith(f"{path}/")
        ]
        # One more, for the items that have no category: their code is -1.
        is_below = np.zeros(len(categories.values) + 1, bool)
        is_below[below] = bool(path)
        return np.flatnonzero(is_below[categories.code_n])

    def rows_of_brand(self, brand: str) -> np.ndarray:
        """Returns int64 rows, ascending, of just this brand."""
        brands = cast(Names, self.columns["brand"])
        code = brands.code_of(brand)
        return np.zeros(0, np.int64) if code is None else np.flatnonzero(brands.code_n == code)

    def top_categories(self) -> list[str]:
        """Returns the first levels of the category paths, in order of the alphabet."""
        tops = {value.strip("/").split("/")[0] for value in cast(Names, self.columns["category"]).values}
        return sorted(tops - {""})

    def popular(self, k: int, without: Collection[int], only: np.ndarray | None) -> tuple[list[float], list[int]]:
        """Returns the k most popular rows with their share of training events, most popular first.

        Args:
            without: rows to leave out.
            only: the rows that may be answered; None allows all.
        """
        wanted = k + len(without) + len(self._gone)
        if only is None:
            put = np.arange(self._sealed, len(self))
            ordered = self._by_popularity_n[:wanted]
            ordered = np.concatenate([ordered, put[: wanted - len(ordered)]])
        else:
            ordered = only[np.argsort(self._place.rows[only], kind="stable")][:wanted]
        rows = [row for row in ordered.tolist() if row not in without and row not in self._gone][:k]
        return [self._share.rows.item(row) for row in rows], rows

    # What is put in while it is served.

    def put(self, item_id: str, fields: Mapping[str, Any]) -> int:
        """Sets what is shown of an item, known or new; `SHOWN` names the fields.

        Returns: its row.
        """
        index = self.tower_index.get(item_id)
        row = len(self) if index is None else index - 1
        if row < self._sealed and row not in self._before:
            self._before[row] = {name: self.columns[name][row] for name in SHOWN}
        for name in SHOWN:
            self.columns[name].put(row, fields[name])
        if index is None:
            self.columns["item_id"].put(row, item_id)
            self.columns["events"].put(row, 0)
            self.ids.append(item_id)
            self.tower_index[item_id] = row + 1
            self._share.add(np.zeros(1))
            self._place.add(np.array([row]))
        self._rows_by_path.clear()
        self.filters.forget()
        return row

    def drop(self, item_id: str) -> int:
        """Forgets what was put of an item: a known one is as the bundle has it, a new one is unknown.

        Returns: its row, which no other item gets.
        """
        row = self.tower_index[item_id] - 1
        if row < self._sealed:
            for name, value in self._before.pop(row).items():
                self.columns[name].put(row, value)
        else:
            del self.tower_index[item_id]
            self._gone.add(row)
        self._rows_by_path.clear()
        self.filters.forget()
        return row


def _column(name: str, values: Sequence[Any]) -> Column:
    if isinstance(values, Column):
        return values
    return Numbers.of(values, _DTYPES[name]) if name in _DTYPES else cast(Any, _KINDS[name]).of(values)


def _of(name: str, arrays: Arrays) -> Arrays:
    begin = f"{name}."
    return {part.removeprefix(begin): rows for part, rows in arrays.items() if part.startswith(begin)}
