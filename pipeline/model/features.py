"""Queries and items as the arrays both towers read; numpy alone, so training and serving cannot differ.

Shapes: B batch, L history length, W text length, C category levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import DataError, ShapeError
from pipeline.core.schema import EVENT_TYPES
from pipeline.model.config import TowerConfig
from pipeline.model.text import bucket, encode_texts

TYPE_CODE = {name: code for code, name in enumerate(EVENT_TYPES, start=1)}


@dataclass(frozen=True)
class Query:
    """Who asks: the items they met, oldest first, with the type of each event, and what they typed, if anything."""

    item_ids: Sequence[str]
    event_types: Sequence[str]
    text: str | None = None


@dataclass(frozen=True)
class Item:
    """One item of the catalogue; `index` 0 is an item the model was not trained on."""

    index: int
    item_id: str
    category: str | None = None
    brand: str | None = None
    title: str | None = None
    price: float | None = None


def encode_queries(
    config: TowerConfig, item_index: Mapping[str, int], queries: Sequence[Query]
) -> dict[str, np.ndarray]:
    """Makes the query tower's inputs; the newest L known items count, unknown ones are left out.

    Returns: int32 `history_items` and `history_types` [B, L], right-aligned, and `query_text` [B, W].
    Raises: ShapeError: a query's items and event types differ in number. DataError: an event type is unknown.
    """
    items_BL = np.zeros((len(queries), config.history_length), np.int32)
    types_BL = np.zeros_like(items_BL)
    for row, query in enumerate(queries):
        _encode_history(query, item_index, items_BL[row], types_BL[row])
    text_BW = encode_texts([query.text for query in queries], config.text_length, config.text_buckets)
    return {"history_items": items_BL, "history_types": types_BL, "query_text": text_BW}


def _encode_history(query: Query, item_index: Mapping[str, int], items_L: np.ndarray, types_L: np.ndarray) -> None:
    if len(query.item_ids) != len(query.event_types):
        raise ShapeError(
            f"A query has {len(query.item_ids)} items but {len(query.event_types)} event types, not one each."
        )
    position = len(items_L) - 1
    for item_id, event_type in zip(reversed(query.item_ids), reversed(query.event_types), strict=True):
        index = item_index.get(item_id, 0)
        if not index:
            continue
        if position < 0:
            break
        items_L[position], types_L[position] = index, _type_code(event_type)
        position -= 1


def _type_code(event_type: str) -> int:
    try:
        return TYPE_CODE[event_type]
    except KeyError:
        raise DataError(f"The event type {event_type!r} is unknown; known are {', '.join(EVENT_TYPES)}.") from None


def encode_items(config: TowerConfig, items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Makes the item tower's inputs.

    Returns: int32 `item`, `brand`, `price_band` [B], `category` [B, C], `title` [B, W]; 0 where unknown.
    """
    return {
        "item": np.array([item.index for item in items], np.int32),
        "category": _encode_categories(config, [item.category for item in items]),
        "brand": np.array([_brand(config, item.brand) for item in items], np.int32),
        "title": encode_texts([item.title for item in items], config.text_length, config.text_buckets),
        "price_band": price_bands(config, [item.price for item in items]),
    }


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
