"""What a bundle answers; these very structs are what the server encodes, so nothing is copied on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

EMPTY_HISTORY = "empty_history"
UNKNOWN_ITEMS = "unknown_items"
NO_WORDS = "no_words"
FALLBACKS = (EMPTY_HISTORY, UNKNOWN_ITEMS, NO_WORDS)


class Share(msgspec.Struct, gc=False):
    """An item of the history, and what it does for an answered one, from 0 to 1."""

    item_id: str
    share: float


class Why(msgspec.Struct):
    """Why an item is in an answer, as `explain` tells it.

    Attributes:
        popular: nothing was known of who asks; then there is no more to tell.
        likeness, words_added, met_added: the three that make up the score.
        history: what speaks for it most; with `query`, the share of what was typed, at most 1 in all.
        words: those typed that stand in its title.
        category: the longest path it shares with an item of the history; brand: one it shares.
        price: whether an item of the history costs about as much.
    """

    popular: bool = False
    likeness: float | None = None
    words_added: float | None = None
    met_added: float | None = None
    history: list[Share] = []
    query: float | None = None
    words: list[str] = []
    category: str | None = None
    brand: str | None = None
    price: bool = False


class Scored(msgspec.Struct):
    """One answered item.

    Attributes:
        score: dot product of unit vectors, in [-1, 1], and what `repeats` adds where the item was met, or `lexical`
            where its title holds what was typed; in a fallback the item's share of training events.
        why: there if it was asked for.
    """

    item_id: str
    score: float
    title: str | None
    category: str | None
    brand: str | None
    price: float | None
    why: Why | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Answer:
    """Items best first.

    Attributes:
        fallback: why popularity answered, else None: `unknown_items` where the bundle knows no item of the history (and
            nothing was typed), `no_words` where what was typed holds no word and there is no history, `empty_history`
            where there is neither.
        spent: seconds its parts took: `features`, `tower`, `index`, `rank`.
    """

    items: list[Scored]
    fallback: str | None
    spent: dict[str, float] = field(default_factory=dict, compare=False)
