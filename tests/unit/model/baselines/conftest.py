"""Four sequences of five items, and what they are asked."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.model.baselines import Interactions
from pipeline.model.features import Query

DAY = 86_400


@pytest.fixture
def log() -> Interactions:
    """Sequences: {a, b}, {a, b}, {a, c}, {c, d three times}, met on days 0, 1, 2 and 4; e was never met."""
    return Interactions(
        list("abcde"),
        np.array([1, 2, 1, 2, 1, 3, 3, 4, 4, 4], np.int32),
        np.array([0, 0, 1, 1, 2, 2, 4, 4, 4, 4], np.int64) * DAY,
        np.array([0, 2, 4, 6, 10], np.int64),
        2.0 * DAY,
    )


def query(*item_ids: str) -> Query:
    return Query(item_ids, ["view"] * len(item_ids))
