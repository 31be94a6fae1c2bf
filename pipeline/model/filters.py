"""Which items may be answered: by category, brand, price and stock, all of what is asked for at once.

What is left out by id, items met or denied, is no matter of this: those are few, and the index is asked for as many
more (`retriever`).
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipeline.model.catalogue import Catalogue

KEPT = 8
"""A shop's pages ask by the same few filters again and again. In a catalogue of a million items the rows of one take
8 MB at most."""


@dataclass(frozen=True)
class Filter:
    """What an item must be to be answered; what is not given asks nothing.

    Attributes:
        categories, brands: one of these; a category holds everything below it.
        price_min, price_max: both may be met; an item without a price meets neither.
        in_stock: not what is known to be sold out. Where the catalogue does not say, an item counts as in stock.
        deny: ids of items that are not answered.
    """

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    in_stock: bool = False
    deny: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Filter:
        """Returns the filter in the body of a request, in which one category or brand may stand without a list."""
        told = told or {}
        bounds = {name: told.get(name) for name in ("price_min", "price_max")}
        denied = tuple(told.get("deny") or ())
        return cls(several(told.get("category")), several(told.get("brand")), **bounds,
                   in_stock=bool(told.get("in_stock")), deny=denied)  # fmt: skip


EVERYTHING = Filter()


def several(told: str | Sequence[str] | None) -> tuple[str, ...]:
    """Returns what was told as one or as several, as several."""
    if told is None:
        return ()
    return (told,) if isinstance(told, str) else tuple(told)


class Filters:
    """From filters to the rows they allow. The last few are kept. Not for two threads at once."""

    def __init__(self, catalogue: Catalogue) -> None:
        # It holds this one: a circle would keep a bundle that is served no more until the collector comes by.
        self._catalogue: Catalogue = weakref.proxy(catalogue)
        self._kept: OrderedDict[Filter, np.ndarray] = OrderedDict()

    def forget(self) -> None:
        """Must be called when the catalogue changed."""
        self._kept.clear()

    def rows(self, asked: Filter) -> np.ndarray | None:
        """Returns int64 rows, ascending; None where all are allowed. `deny` is not looked at."""
        if asked is EVERYTHING:
            return None
        key = replace(asked, deny=()) if asked.deny else asked
        if key == EVERYTHING:
            return None
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._found(key)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found

    def _found(self, asked: Filter) -> np.ndarray:
        """Narrows the rows down, those of categories and brands first, which lie ready."""
        catalogue, rows = self._catalogue, None
        if asked.categories:
            rows = self._either([catalogue.rows_under(category) for category in asked.categories])
        if asked.brands:
            of_brands = self._either([catalogue.rows_of_brand(brand) for brand in asked.brands])
            rows = of_brands if rows is None else rows[self._mask(of_brands)[rows]]
        if rows is None:
            rows = np.arange(len(catalogue))
        prices_R = catalogue.price_n[rows]
        allowed_R = np.ones(len(rows), bool)
        # Where there is no price it is NaN, which is neither more nor less than anything.
        if asked.price_min is not None:
            allowed_R &= prices_R >= asked.price_min
        if asked.price_max is not None:
            allowed_R &= prices_R <= asked.price_max
        if asked.in_stock:
            allowed_R &= ~catalogue.sold_out_n[rows]
        return rows[allowed_R]

    def _either(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return parts[0] if len(parts) == 1 else np.flatnonzero(self._mask(np.concatenate(parts)))

    def _mask(self, rows: np.ndarray) -> np.ndarray:
        mask_n = np.zeros(len(self._catalogue), bool)
        mask_n[rows] = True
        return mask_n
