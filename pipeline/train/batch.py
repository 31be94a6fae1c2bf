"""What a step is given: replicas end to end, each array of equal parts, items as places among those a replica needs.

Shapes: U items of one replica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ITEMS_MULTIPLE = 512
"""Items of a replica are padded to a multiple, so that few shapes are compiled."""
ITEMS = ("events", "targets", "uniform", "hard", "exposed")
"""Which arrays hold items."""
WINDOWED = ("events", "types", "pauses", "now_pauses")
"""Which arrays have a row for each window and a column for each of its events."""
KEPT = {"weight": np.float32, "alone": np.bool_}
"""Types of the arrays that are not int32."""
Batch = Mapping[str, np.ndarray]


def lay_out(gathered: Sequence[Batch], known_n1: np.ndarray) -> Batch:
    """Returns one batch of what each replica learns from.

    Args: gathered: the arrays of each replica, items as indices.

    Returns: beside those arrays, items as places: int32 `items` [U] a replica, 0 first and for padding, and bool
        `known` [U].
    """
    parts = [_by_place(arrays) for arrays in gathered]
    length = padded(max(len(part["items"]) for part in parts), ITEMS_MULTIPLE)
    for part in parts:
        part["items"] = np.pad(part["items"], (0, length - len(part["items"])))
    batch = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    cast = {name: values.astype(KEPT.get(name, np.int32)) for name, values in batch.items()}
    return cast | {"known": known_n1[cast["items"]]}


def _by_place(arrays: Batch) -> dict[str, np.ndarray]:
    needed = np.concatenate([[0], *(arrays[name].ravel() for name in ITEMS)])
    items_U, places = np.unique(needed, return_inverse=True)
    ends = np.cumsum([1, *(arrays[name].size for name in ITEMS)])
    local = dict(zip(ITEMS, np.split(places, ends)[1:-1], strict=True))
    return {**arrays, "items": items_U} | {name: at.reshape(arrays[name].shape) for name, at in local.items()}


def padded(count: int, multiple: int) -> int:
    """Returns the least multiple that is not less than the count."""
    return -(-count // multiple) * multiple
