"""Parts of the queries and of their targets that are judged on their own: one definition for `train` and `gate`.

A slice of queries holds all targets of each, or none; a slice of targets asks how many of those alone were found.

Shapes: Q queries, n items, P pairs of a query and one of its targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from pipeline.core.artifacts import Artifact
from pipeline.model.features import Query
from pipeline.model.metrics import popularity_percentiles

CATEGORIES = 8
"""So many of the largest top-level categories are slices of their own."""
PRICE_QUANTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Catalogued:
    """What slices need to know of the items.

    Attributes:
        item_ids: by index - 1.
        trained_n: bool, whether the item was ever a training target.
        events_n: int64, events in training.
        categories, prices: None where there is none.
    """

    item_ids: Sequence[str]
    trained_n: np.ndarray
    events_n: np.ndarray
    categories: Sequence[str | None]
    prices: Sequence[float | None]

    @classmethod
    def load(cls, prepared: Artifact) -> Catalogued:
        """Reads what `prepare` made."""
        import pyarrow.parquet as parquet

        columns = ["item_id", "probability", "events", "category", "price"]
        ids, probability, events, categories, prices = parquet.read_table(
            prepared.file("items.parquet"), columns=columns
        ).columns
        trained_n, events_n = probability.to_numpy() > 0, events.to_numpy()
        return cls(ids.to_pylist(), trained_n, events_n, categories.to_pylist(), prices.to_pylist())

    @cached_property
    def index(self) -> dict[str, int]:
        """Item id to index - 1."""
        return {item_id: place for place, item_id in enumerate(self.item_ids)}

    @cached_property
    def percentiles(self) -> dict[str, float]:
        """Item id to percentile of its popularity in training."""
        return dict(zip(self.item_ids, popularity_percentiles(self.events_n).tolist(), strict=True))


@dataclass(frozen=True)
class Targets:
    """All targets of some queries, end to end."""

    kinds: Sequence[str]
    queries: Sequence[Query]
    targets: Sequence[Sequence[str]]
    items: Catalogued

    @cached_property
    def query_P(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.targets)), np.array([len(wanted) for wanted in self.targets], np.int64))

    @cached_property
    def item_P(self) -> np.ndarray:
        """int64, the item's index - 1; -1 is an item the vocabulary lacks."""
        index = self.items.index
        return np.array([index.get(item, -1) for wanted in self.targets for item in wanted], np.int64)

    def within(self, inside_P: np.ndarray | None = None) -> np.ndarray:
        """Returns bool [Q]: whether any target is inside the slice; of all of them without one."""
        return self._wanted(inside_P) > 0

    def recall(self, found_P: np.ndarray, inside_P: np.ndarray | None = None) -> np.ndarray:
        """Returns float64 [Q]: found targets as a share of those inside the slice, NaN where none is.

        Args: found_P: 1 or 0, as `metrics.found_at_k`; inside_P: bool, all of them without it.
        """
        wanted_Q = self._wanted(inside_P)
        found_Q = self._sum(found_P if inside_P is None else np.where(inside_P, found_P, 0.0))
        return np.where(wanted_Q > 0, found_Q / np.maximum(wanted_Q, 1), np.nan)

    def _wanted(self, inside_P: np.ndarray | None) -> np.ndarray:
        return self._sum(np.ones(len(self.query_P)) if inside_P is None else inside_P)

    def _sum(self, values_P: np.ndarray) -> np.ndarray:
        return np.bincount(self.query_P, values_P, minlength=len(self.targets))

    def slices(self) -> dict[str, np.ndarray]:
        """Returns bool [P] by the slice's name: all there are."""
        return {**self.main_slices(), **self._categories(), **self._prices()}

    def main_slices(self) -> dict[str, np.ndarray]:
        """Returns bool [P] by the slice's name: those few that hold in any shop, and that may veto a model."""
        asked = list(zip(self.kinds, self.queries, strict=True))
        of_queries = {
            name: np.array([holds(kind, query) for kind, query in asked], bool)[self.query_P]
            for name, holds in OF_QUERIES.items()
        }
        # The last of no items is any, but no place of -1 is looked at.
        trained_P = np.append(self.items.trained_n, False)[self.item_P]
        return {**of_queries, "items trained on": trained_P, "items never trained on": ~trained_P}

    def _categories(self) -> dict[str, np.ndarray]:
        tops = [category.strip("/").split("/")[0] if category else "" for category in self.items.categories]
        if not any(tops):
            return {}
        names, top_n = np.unique([*tops, ""], return_inverse=True)
        weights = np.bincount(top_n[:-1], self.items.events_n, minlength=len(names))
        largest = [place for place in np.argsort(-weights, kind="stable") if names[place]][:CATEGORIES]
        top_P = top_n[self.item_P]
        slices = {f"category {names[place]}": top_P == place for place in largest}
        rest_P = ~np.isin(top_P, largest) & (self.item_P >= 0)
        return {**slices, "other or no category": rest_P}

    def _prices(self) -> dict[str, np.ndarray]:
        price_n = np.array([np.nan if price is None else price for price in self.items.prices], np.float64)
        known = price_n[np.isfinite(price_n) & self.items.trained_n]
        if not len(known):
            return {}
        edges = np.unique(np.quantile(known, PRICE_QUANTILES))
        price_P = np.append(price_n, np.nan)[self.item_P]
        band_P = np.where(np.isfinite(price_P), np.searchsorted(edges, price_P, side="right"), -1)
        between = [f"price {low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
        names = [f"price below {edges[0]:.4g}", *between, f"price from {edges[-1]:.4g}"]
        return {name: band_P == band for band, name in enumerate(names)}


OF_QUERIES: Mapping[str, Callable[[str, Query], bool]] = {
    "recommend": lambda kind, query: kind == "recommend",
    "search": lambda kind, query: kind == "search",
    "no history": lambda kind, query: not query.item_ids,
    "history of 1 to 4": lambda kind, query: 1 <= len(query.item_ids) <= 4,
    "history of 5 to 19": lambda kind, query: 5 <= len(query.item_ids) <= 19,
    "history of 20 and more": lambda kind, query: len(query.item_ids) >= 20,
    "last event a view": lambda kind, query: list(query.event_types[-1:]) == ["view"],
    "last event a cart": lambda kind, query: list(query.event_types[-1:]) == ["cart"],
    "last event a purchase": lambda kind, query: list(query.event_types[-1:]) == ["purchase"],
}
