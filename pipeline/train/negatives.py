"""Hard negatives: popular items of the target's own category.

Shapes: n items, B targets, H negatives a target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_ITEMS = 20


@dataclass(frozen=True)
class Categories:
    """Items by category, and the share of its category's targets each has.

    An item's category is the deepest level of its path that holds `LEAST_ITEMS` items, or else the uppermost; one
    without a path has none.

    Attributes:
        category_n1: int32, 0 for none. share_n1: float64, 0 where the category was never asked for.
        order_n1: int64, items by category; ends_n1: float64, the sum of their shares so far.
        begins_c1: int64, where each category begins in that order, and the end.
    """

    category_n1: np.ndarray
    share_n1: np.ndarray
    order_n1: np.ndarray
    ends_n1: np.ndarray
    begins_c1: np.ndarray

    @classmethod
    def of(cls, paths: Sequence[str | None], probability_n1: np.ndarray) -> Categories:
        """Args: paths: of each item by index - 1. probability_n1: share of targets."""
        category_n1 = np.concatenate([[0], _numbered(paths)])
        held_c = np.bincount(category_n1, probability_n1)
        held_n1 = held_c[category_n1]
        share_n1 = np.where(held_n1 > 0, probability_n1 / np.where(held_n1 > 0, held_n1, 1), 0) * (category_n1 > 0)
        order_n1 = np.argsort(category_n1, kind="stable")
        begins_c1 = np.searchsorted(category_n1[order_n1], np.arange(len(held_c) + 1))
        return cls(category_n1.astype(np.int32), share_n1, order_n1, np.cumsum(share_n1[order_n1]), begins_c1)

    def drawn(self, luck_BH: np.ndarray, targets_B: np.ndarray) -> np.ndarray:
        """Returns int64 [B, H], items of each target's category by their share; 0 where it has none.

        Args: luck_BH: evenly distributed in [0, 1).
        """
        category_B1 = self.category_n1[targets_B][:, np.newaxis]
        begins_B1, ends_B1 = self.begins_c1[category_B1], self.begins_c1[category_B1 + 1]
        before_B1 = np.concatenate([[0.0], self.ends_n1])[begins_B1]
        places_BH = np.searchsorted(self.ends_n1, before_B1 + luck_BH, side="right")
        return np.where(category_B1 > 0, self.order_n1[np.clip(places_BH, begins_B1, ends_B1 - 1)], 0)


def _numbered(paths: Sequence[str | None]) -> np.ndarray:
    """Returns int64 [n], 0 for items without a path."""
    levels = [_levels(path) for path in paths]
    held = Counter(level for own in levels for level in own)
    chosen = [next((level for level in own if held[level] >= LEAST_ITEMS), own[-1] if own else "") for own in levels]
    numbers = {name: number for number, name in enumerate(sorted({"", *chosen}))}
    return np.array([numbers[name] for name in chosen], np.int64)


def _levels(path: str | None) -> list[str]:
    """Returns a path and those above it, deepest first."""
    names = (path or "").casefold().split("/")
    return ["/".join(names[:end]) for end in range(len(names), 0, -1)] if path else []
