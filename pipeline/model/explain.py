"""Why an item is in an answer: what the score would have been without each part of what was known.

Each item of the history, and what was typed, is left out of the query in turn, and all those queries go through the
query tower at once. How much an item's score falls is what the part did for it; an item's shares are of all that
falls. Unlike a look at attention weights or at the likeness of two items this is said by the whole tower, and would be
the same of any other.

Source: leaving one feature out, Robnik-Šikonja & Kononenko 2008, Explaining classifications for individual instances.

Shapes: P parts left out, the first row nothing, R answered items, D dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.model.answer import Answer, Scored, Share, Why
from pipeline.model.features import Query, encode_queries
from pipeline.model.retriever import Retriever
from pipeline.model.text import words

MAX_ITEMS = 50
"""So many items of an answer can be explained."""
MAX_PARTS = 31
"""With the whole query a batch of 32: what was typed, if anything, and the newest items of the history."""
TOLD = 3
"""Of the history, for each item."""
NEAR_PRICE = 0.25


def explain(retriever: Retriever, query: Query, answer: Answer, exclude_seen: bool) -> None:
    """Sets `why` of the first `MAX_ITEMS` items of an answer.

    Args: query, exclude_seen: what the answer was given to.
    """
    items = answer.items[:MAX_ITEMS]
    if answer.fallback:
        for item in items:
            item.why = Why(popular=True)
        return
    rows = [retriever.catalogue.tower_index[item.item_id] - 1 for item in items]
    met = _met(retriever, query, MAX_PARTS - 1 if query.text else MAX_PARTS)
    fallen_PR = _fallen(retriever, query, met, rows)
    added = retriever.added(query, exclude_seen)
    typed = dict.fromkeys(words(query.text or ""))
    history = [_shown(retriever, item_id) for item_id in met]
    for place, (item, row) in enumerate(zip(items, rows, strict=True)):
        shares = _shares(fallen_PR[:, place])
        best = sorted(range(len(met)), key=lambda part: -shares[part])[:TOLD]
        more, in_title = added.get(row, 0.0), set(words(item.title or ""))
        item.why = Why(
            likeness=item.score - more,
            words_added=more if query.text else 0.0,
            met_added=0.0 if query.text else more,
            history=[Share(met[part], shares[part]) for part in best if shares[part] > 0],
            query=shares[len(met)] if query.text else None,
            words=[word for word in typed if word in in_title],
            **_same(item, history),
        )


def _met(retriever: Retriever, query: Query, most: int) -> list[str]:
    """Returns the known items of what the tower reads of a history, each once, the newest first."""
    known = [item_id for item_id in reversed(query.item_ids) if item_id in retriever.catalogue.tower_index]
    return list(dict.fromkeys(known[: retriever.config.history_length]))[:most]


def _fallen(retriever: Retriever, query: Query, met: Sequence[str], rows: Sequence[int]) -> np.ndarray:
    """Returns float32 [P, R], by how much each score falls without each item met, and at last without the text."""
    without = [query, *(_without(query, item_id) for item_id in met)]
    if query.text:
        without.append(replace(query, text=None))
    vectors = retriever.tower(encode_queries(retriever.config, retriever.catalogue.tower_index, without))
    scores = vectors @ retriever.index.vectors(np.array(rows, np.int64)).T
    return scores[0] - scores[1:]


def _without(query: Query, item_id: str) -> Query:
    """Returns the query of somebody who never met an item."""
    kept = [place for place, met in enumerate(query.item_ids) if met != item_id]
    ids, kinds, times = (
        [each[at] for at in kept] if each else () for each in (query.item_ids, query.event_types, query.times)
    )
    return replace(query, item_ids=ids, event_types=kinds, times=times)


def _shares(fallen_P: np.ndarray) -> list[float]:
    """Returns each part's share of all that falls, 0 for what speaks against an item."""
    down_P = np.maximum(fallen_P, 0.0)
    return (down_P / max(float(down_P.sum()), 1e-12)).tolist()


def _shown(retriever: Retriever, item_id: str) -> tuple[str | None, str | None, float | None]:
    row, columns = retriever.catalogue.tower_index[item_id] - 1, retriever.catalogue.columns
    return columns["category"][row], columns["brand"][row], columns["price"][row]


def _same(item: Scored, history: Sequence[tuple[str | None, str | None, float | None]]) -> dict[str, object]:
    shared = [_path(item.category, category) for category, _, _ in history]
    near = (p is not None and item.price is not None and abs(p - item.price) <= NEAR_PRICE * p for _, _, p in history)
    return {
        "category": max(shared, key=len, default="") or None,
        "brand": item.brand if item.brand and any(brand == item.brand for _, brand, _ in history) else None,
        "price": any(near),
    }


def _path(one: str | None, other: str | None) -> str:
    """Returns what two paths have in common, from the root."""
    levels = []
    for level, same in zip((one or "").strip("/").split("/"), (other or "").strip("/").split("/"), strict=False):
        if level != same:
            break
        levels.append(level)
    return "/".join(levels)
