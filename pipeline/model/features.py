"""Queries and items as the arrays both towers read; numpy alone, so training and serving cannot differ.

Shapes: B batch, L history length, W text length, C category levels or pairs of a context.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.core.errors import DataError, ShapeError
from pipeline.core.schema import EVENT_TYPES
from pipeline.model.config import TowerConfig
from pipeline.model.context import encode_contexts
from pipeline.model.text import bucket, encode_texts

TYPE_CODE = {name: code for code, name in enumerate(EVENT_TYPES, start=1)}
BANDS = 32


@dataclass(frozen=True)
class Query:
    """Who asks: the items they met, oldest first, with the type of each event, and what they typed, if anything.

    Attributes:
        times: unix seconds of each event, or nothing where they are not known.
        now: unix seconds, when it is asked.
        context: where and on what it is asked, as `context.told`.
    """

    item_ids: Sequence[str]
    event_types: Sequence[str]
    text: str | None = None
    times: Sequence[float] = ()
    now: float | None = None
    context: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Query:
        """Returns the query of a row of `schema.QUERY`."""
        times = [time.timestamp() for time in row["history_times"]]
        ids, kinds, now = row["history_item_ids"], row["history_event_types"], row["time"].timestamp()
        return cls(ids, kinds, row["query"], times, now, row["context"])


@dataclass(frozen=True)
class Item:
    """One item of the catalogue; `index` 0 is an item the model was not trained on.

    Attributes:
        age_days: from the day it was first met, or of one nobody met, first listed, to the end of training; None where
            that is not known.
        vector: made elsewhere, of an image or a text.
    """

    index: int
    item_id: str
    category: str | None = None
    brand: str | None = None
    title: str | None = None
    price: float | None = None
    age_days: int | None = 0
    vector: Sequence[float] | np.ndarray | None = None


def encode_queries(
    config: TowerConfig, item_index: Mapping[str, int], queries: Sequence[Query]
) -> dict[str, np.ndarray]:
    """Makes the query tower's inputs; the newest L known items count, unknown ones are left out.

    Returns: int32 `history_items`, `history_types` and `history_pauses` [B, L], right-aligned, the last being how long
        before each event the one before it was; `now_pause` [B, 1], how long ago the newest was; `query_text` [B, W];
        `query_context` [B, C], if these towers read contexts.
    Raises: ShapeError: a query's items, event types and times differ in number. DataError: an event type is unknown.
    """
    length = config.history_length
    items_BL, types_BL, pauses_BL = (np.zeros((len(queries), length), np.int32) for _ in range(3))
    now_B1 = np.zeros((len(queries), 1), np.int32)
    for row, query in enumerate(queries):
        items, places = _newest_known(query, item_index, length + 1)
        shown = places[-length:]
        if not shown:
            continue
        # A list is put in whole: for so few numbers every operation of numpy's costs more than it saves.
        items_BL[row, -len(shown) :] = items[-length:]
        types_BL[row, -len(shown) :] = _type_codes([query.event_types[place] for place in shown])
        if query.times:
            times = [math.floor(query.times[place]) for place in places]
            if len(times) > 1:
                pauses_BL[row, 1 - len(times) :] = [band(after - before) for before, after in pairwise(times)]
            if query.now is not None:
                # In training, what is bought in an event's own second is never asked for from it.
                now_B1[row] = band(max(int(query.now) - times[-1], 1))
    text_BW = encode_texts([query.text for query in queries], config.text_length, config.text_buckets)
    made = {
        "history_items": items_BL,
        "history_types": types_BL,
        "history_pauses": pauses_BL,
        "now_pause": now_B1,
        "query_text": text_BW,
    }
    if config.context_buckets:
        made["query_context"] = encode_contexts([query.context for query in queries], config.context_buckets)
    return made


def _newest_known(query: Query, item_index: Mapping[str, int], most: int) -> tuple[list[int], list[int]]:
    """Returns the item indices of the newest events on known items, oldest first, and their places in the query."""
    count = len(query.item_ids)
    if len(query.event_types) != count or len(query.times) not in (0, count):
        raise ShapeError(
            f"A query has {len(query.item_ids)} items, {len(query.event_types)} event types and {len(query.times)} "
            "times, not one each."
        )
    items: list[int] = []
    places: list[int] = []
    for place in range(count - 1, -1, -1):
        if index := item_index.get(query.item_ids[place]):
            items.append(index)
            places.append(place)
            if len(places) == most:
                break
    return items[::-1], places[::-1]


def sequence_pauses(times_N: np.ndarray, offsets_S1: np.ndarray) -> np.ndarray:
    """Returns uint8 [N + 1], how long before each event of training the one before it was; 0 where a sequence begins.

    So the value behind an event says how long after it the next one was asked for.
    """
    pauses_N1 = np.zeros(len(times_N) + 1, np.uint8)
    pauses_N1[1:-1] = bands(np.diff(times_N))
    pauses_N1[offsets_S1] = 0
    return pauses_N1


def bands(numbers: np.ndarray) -> np.ndarray:
    """Returns int32: 1 + how many binary digits a number has, at most `BANDS`; 0 is kept for what is not known."""
    return np.minimum(1 + np.frexp(np.maximum(numbers, 0))[1], BANDS).astype(np.int32)


def band(number: int) -> int:
    """Returns what `bands` does, of one whole number."""
    return min(1 + max(number, 0).bit_length(), BANDS)


def _type_codes(event_types: Sequence[str]) -> list[int]:
    try:
        return [TYPE_CODE[event_type] for event_type in event_types]
    except KeyError as error:
        raise DataError(f"The event type {error.args[0]!r} is unknown; known are {', '.join(EVENT_TYPES)}.") from None


def encode_items(config: TowerConfig, items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Makes the item tower's inputs.

    Returns: int32 `item`, `brand`, `price_band`, `age` [B], `category` [B, C], `title` [B, W]; 0 where unknown.
        float32 `vector` [B, V] of unit length, zeros where there is none, if these towers read vectors.
    Raises: ShapeError: a vector is of another length than these towers read.
    """
    made = {
        "item": np.array([item.index for item in items], np.int32),
        "category": _encode_categories(config, [item.category for item in items]),
        "brand": np.array([_brand(config, item.brand) for item in items], np.int32),
        "title": encode_texts([item.title for item in items], config.text_length, config.text_buckets),
        "price_band": price_bands(config, [item.price for item in items]),
        "age": _ages(items),
    }
    return made | {"vector": _unit_vectors(config, items)} if config.vector_dim else made


def _ages(items: Sequence[Item]) -> np.ndarray:
    days = np.array([-1 if item.age_days is None else item.age_days for item in items], np.int64)
    return np.where(days < 0, 0, bands(days)).astype(np.int32)


def _unit_vectors(config: TowerConfig, items: Sequence[Item]) -> np.ndarray:
    vectors_BV = np.zeros((len(items), config.vector_dim), np.float32)
    for row, item in enumerate(items):
        if item.vector is not None:
            if len(item.vector) != config.vector_dim:
                raise ShapeError(
                    f"The vector of item {item.item_id} holds {len(item.vector)} numbers, and these towers read "
                    f"{config.vector_dim}."
                )
            vectors_BV[row] = np.divide(item.vector, max(np.linalg.norm(item.vector), 1e-12))
    return vectors_BV


def _encode_categories(config: TowerConfig, paths: Sequence[str | None]) -> np.ndarray:
    codes_BC = np.zeros((len(paths), config.category_levels), np.int32)
    for row, path in enumerate(paths):
        levels = (path or "").casefold().split("/")[: config.category_levels] if path else []
        for level in range(len(levels)):
            codes_BC[row, level] = bucket("/".join(levels[: level + 1]), config.category_buckets)
    return codes_BC


def _brand(config: TowerConfig, brand: str | None) -> int:
    return bucket(brand.casefold(), config.brand_buckets) if brand else 0


def price_bands(config: TowerConfig, prices: Sequence[float | None]) -> np.ndarray:
    """Returns int32 [B]: 1 + how many edges a price has reached; 0 where there is none."""
    known = np.array([np.nan if price is None else price for price in prices], np.float64)
    bands_B = np.searchsorted(np.array(config.price_edges, np.float64), known, side="right") + 1
    return np.where(np.isfinite(known), bands_B, 0).astype(np.int32)
