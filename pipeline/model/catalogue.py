"""What a release bundle knows of its items beside their vectors: ids in index order, fields to show, popularity.

A *row* counts from 0 in index order; an item's tower index is its row + 1, since 0 pads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.filters import Filters
from pipeline.model.packed import read_json, write_json

COLUMNS = ("item_id", "category", "brand", "title", "price", "in_stock", "events")


class Catalogue:
    """Items as columns.

    Attributes:
        columns: lists of equal length by the names in `COLUMNS`; `category` is a path with `/` between its levels,
            `events` counts the item's events in training.
        tower_index: item id -> index the towers know it by.
        price_n: float64, NaN where there is none.
        sold_out_n: bool, True where an item is known not to be in stock.
        filters: from what is asked for to rows.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns = {name: list(columns[name]) for name in COLUMNS}
        # JSON knows no NaN, and neither do the server's callers.
        self.columns["price"] = [None if price is None or price != price else price for price in self.columns["price"]]
        if len({len(column) for column in self.columns.values()}) != 1:
            raise ShapeError("The catalogue's columns differ in length; every item needs every field.")
        self.ids: list[str] = self.columns["item_id"]
        self.tower_index = {item_id: row + 1 for row, item_id in enumerate(self.ids)}
        events_n = np.asarray(self.columns["events"], dtype=np.float64)
        self._share_n = events_n / max(events_n.sum(), 1.0)
        self._by_popularity_n = np.argsort(-events_n, kind="stable")
        self._place_n = np.argsort(self._by_popularity_n, kind="stable")
        self._rows_by_path = _rows_by_path(self.columns["category"])
        self._rows_by_brand = _gathered((brand, row) for row, brand in enumerate(self.columns["brand"]) if brand)
        self.price_n = np.array(self.columns["price"], np.float64)
        self.sold_out_n = np.array([flag is False for flag in self.columns["in_stock"]], bool)
        self.filters = Filters(self)

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Raises: CorruptArtifactError: the file is not a catalogue."""
        try:
            return cls(read_json(path))
        except (KeyError, TypeError, ShapeError) as error:
            raise CorruptArtifactError(f"{path}: is not a catalogue ({error!r}); make the bundle again.") from None

    def save(self, path: Path) -> None:
        write_json(path, self.columns)

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, item_ids: Sequence[str]) -> set[int]:
        """Returns the rows of those ids that are known."""
        index = self.tower_index
        return {index[item_id] - 1 for item_id in item_ids if item_id in index}

    def rows_under(self, category: str) -> np.ndarray:
        """Returns int64 rows, ascending, whose category path is `category` or lies below it."""
        return self._rows_by_path.get(category.strip("/"), np.zeros(0, np.int64))

    def rows_of_brand(self, brand: str) -> np.ndarray:
        """Returns int64 rows, ascending, of just this brand."""
        return self._rows_by_brand.get(brand, np.zeros(0, np.int64))

    def top_categories(self) -> list[str]:
        """Returns the first levels of the category paths, in order of the alphabet."""
        return sorted(path for path in self._rows_by_path if "/" not in path)

    def popular(self, k: int, without: Collection[int], only: np.ndarray | None) -> tuple[list[float], list[int]]:
        """Returns the k most popular rows with their share of training events, most popular first.

        Args:
            without: rows to leave out.
            only: the rows that may be answered; None allows all.
        """
        ordered = self._by_popularity_n if only is None else only[np.argsort(self._place_n[only], kind="stable")]
        rows = [int(row) for row in ordered[: k + len(without)] if row not in without][:k]
        return [float(self._share_n[row]) for row in rows], rows


def _rows_by_path(categories: Sequence[str | None]) -> dict[str, np.ndarray]:
    levels = ((row, category.strip("/").split("/")) for row, category in enumerate(categories) if category)
    return _gathered(("/".join(path[:depth]), row) for row, path in levels for depth in range(1, len(path) + 1))


def _gathered(pairs: Iterable[tuple[str, int]]) -> dict[str, np.ndarray]:
    rows: dict[str, list[int]] = {}
    for name, row in pairs:
        rows.setdefault(name, []).append(row)
    return {name: np.asarray(found, dtype=np.int64) for name, found in rows.items()}
