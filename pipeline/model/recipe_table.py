"""The table of recipes as people read it, on the model card and on the gate's page: one order, one set of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]
YARDSTICK = "float32"
"""The recipe that is always tried: every other one's loss and gain is held against it, query by query."""
VERDICTS = ("chosen", "front", "rejected", "failed", "not tried")


class Cell(NamedTuple):
    """A figure and, where it has one, its interval."""

    text: str
    span: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.span})" if self.span else self.text


class Column(NamedTuple):
    """Reads one cell; `numeric` ones stand to the right."""

    name: str
    numeric: bool
    read: Callable[[Row], Cell]


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Returns what ships first, then by verdict and size: a row's place is its number in the picture."""
    return sorted(rows, key=lambda row: rank(row.get("verdict"), row.get("bytes")))


def rank(verdict: str | None, size: int | None) -> tuple[int, int]:
    """Returns what `ordered` sorts by."""
    return (VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS), size or 0)


def cells(rows: Sequence[Row]) -> tuple[list[Column], list[list[Cell]]]:
    """Returns columns and cells of the rows in order; what was not measured is a dash."""
    whole = next((_mean(row, "recall") for row in rows if row.get("recipe") == YARDSTICK), None)
    columns = _columns(whole)
    return columns, [
        [Cell(str(place)), *(column.read(row) for column in columns[1:])]
        for place, row in enumerate(ordered(rows), start=1)
    ]


def _columns(whole: float | None) -> list[Column]:
    return [
        Column("", True, lambda row: Cell("")),
        Column("recipe", False, lambda row: Cell(row.get("recipe") or "-")),
        Column("verdict", False, lambda row: Cell(row.get("verdict") or "-")),
        Column("recall", True, lambda row: _number(_mean(row, "recall"), "{:.4f}")),
        Column("kept, %", True, lambda row: _kept(row, whole)),
        Column("MB", True, lambda row: _number(row.get("bytes"), "{:,.2f}", 1e-6)),
        Column("p50 to float32", True, lambda row: _spanned(row.get("p50_ratio"), "{:.2f}")),
        Column("p99, ms", True, lambda row: _spanned(row.get("p99_interval"), "{:.3f}", row.get("p99_ms"))),
        Column("memory, MB", True, lambda row: _number(row.get("memory_mb"), "{:,.0f}")),
        Column("why", False, lambda row: Cell(row.get("reason") or "-")),
    ]


def _mean(row: Row, name: str) -> float | None:
    value = row.get(name)
    return value.get("mean") if isinstance(value, Mapping) else None


def _number(value: float | None, form: str, scale: float = 1.0) -> Cell:
    return Cell("-" if value is None else form.format(value * scale))


def _kept(row: Row, whole: float | None) -> Cell:
    """Returns recall in percent of float32's; the interval is that of the paired difference."""
    difference = row.get("difference")
    if not whole or not isinstance(difference, Mapping):
        return Cell("-")
    return _spanned({end: 100 * (1 + difference[end] / whole) for end in ("mean", "low", "high")}, "{:.1f}")


def _spanned(interval: Any, form: str, alone: float | None = None) -> Cell:
    if not isinstance(interval, Mapping):
        return _number(alone, form)
    mean, low, high = (form.format(interval[end]) for end in ("mean", "low", "high"))
    return Cell(mean, "" if mean == low == high else f"{low} to {high}")
