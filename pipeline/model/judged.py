"""What counts as found, for every stage: a recommendation by `shop.metric`, a search by all that answered it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NEW_ITEMS = "new_items"


def wants_new_items(kind: str, metric: str) -> bool:
    """Returns whether such a query is judged on items its user did not have, which are then all that is answered.

    Args: kind: `recommend` or `search`; metric: `shop.metric`.
    """
    return metric == NEW_ITEMS and kind == "recommend"


def judged_targets(row: Mapping[str, Any], metric: str) -> Sequence[str]:
    """Returns what would have been right to answer to a row of `schema.QUERY`; none leaves the query out."""
    return row["new_target_item_ids" if wants_new_items(row["kind"], metric) else "target_item_ids"]
