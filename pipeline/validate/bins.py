"""Bins of the columns whose distribution is kept, the same on every day and in every shop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.core.schema import EVENT_TYPES

if TYPE_CHECKING:
    import ibis.expr.types as ir

PRICE_EDGES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""A price falls into the 1-2-5 series: the same steps whatever the currency, each about twice the one before."""

QUANTITY_EDGES = (1, 2, 3, 5, 10, 20, 50, 100, 1000)
LENGTH_EDGES = (1, 5, 10, 15, 20, 30, 50)
BANDS = {"price": (PRICE_EDGES, False), "quantity": (QUANTITY_EDGES, True), "query_length": (LENGTH_EDGES, True)}
"""Edges of each column that falls into bands, and whether its values are whole numbers."""

NO_CATEGORY = "none"
CATEGORIES = 40
"""Most categories kept of a day; the rest is one bin."""
OTHERS = "others"


def band(value: ir.NumericValue, edges: Sequence[float]) -> ir.IntegerValue:
    """Returns how many edges a value has reached: 0 is below the first; null stays null."""
    import ibis

    return value.isnull().ifelse(ibis.null("int8"), _reached(value, edges, 0, len(edges)))


def _reached(value: ir.NumericValue, edges: Sequence[float], low: int, high: int) -> ir.IntegerValue:
    """Halves the edges at each step, so that a row meets five of twenty, not all."""
    import ibis

    if low == high:
        return ibis.literal(low, "int8")
    middle = (low + high) // 2
    above, below = _reached(value, edges, middle + 1, high), _reached(value, edges, low, middle)
    return (value >= edges[middle]).ifelse(above, below)


def band_name(number: int, edges: Sequence[float], whole: bool) -> str:
    """Returns `below 1`, `1 to 2` (less than 2; of whole numbers: `1` or `3 to 4`), or `from 1000`."""
    if number == 0:
        return f"below {edges[0]:g}"
    if number == len(edges):
        return f"from {edges[-1]:g}"
    low, high = edges[number - 1], edges[number]
    if not whole:
        return f"{low:g} to {high:g}"
    return f"{low:g}" if high - low == 1 else f"{low:g} to {high - 1:g}"


def in_order(column: str, shares: Mapping[str, float]) -> list[str]:
    """Returns the names of bins as people read them; bins without an order of their own, the largest first."""
    known = {"event_type": list(EVENT_TYPES), "hour": [f"{hour:02}" for hour in range(24)]}
    if column in BANDS:
        edges, whole = BANDS[column]
        known[column] = [band_name(number, edges, whole) for number in range(len(edges) + 1)]
    order = known.get(column) or sorted(shares, key=lambda name: (-shares[name], name))
    return [name for name in order if name in shares]
