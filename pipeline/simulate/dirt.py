"""Rows spoilt on purpose. Each kind is counted as it is made, so that whoever cleans them can be held to the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np

from pipeline.simulate.rendering import COLUMNS, Renderer, at_second

Outcome = Literal["quarantined", "duplicate", "robot", "routed"]
Fields = list[str]
TIME, USER, SESSION, ACTION, ITEM, QUERY, PRICE, QUANTITY = range(len(COLUMNS))
ROBOT_EVENTS = 120
ROBOT_VIEWS_A_SECOND = 3
LATE_DAYS = 3


@dataclass(frozen=True)
class Kind:
    """One way a row is spoilt.

    Attributes:
        share: of the rows to spoil.
        outcome: what ingest must make of such a row.
        spoil: changes the fields of a copy of a clean row about an item.
    """

    name: str
    share: float
    outcome: Outcome
    spoil: Callable[[Fields, np.random.Generator], Fields]


def _put(**values: str) -> Callable[[Fields, np.random.Generator], Fields]:
    places = {COLUMNS.index(name): value for name, value in values.items()}
    return lambda fields, _: [places.get(n, field) for n, field in enumerate(fields)]


def _torn(fields: Fields, random: np.random.Generator) -> Fields:
    return fields[: random.integers(1, len(fields))]


def _late(fields: Fields, random: np.random.Generator) -> Fields:
    moment = at_second(fields[TIME]) - timedelta(days=int(random.integers(1, LATE_DAYS + 1)))
    return [moment.strftime("%Y-%m-%dT%H:%M:%SZ"), fields[USER], f"{fields[SESSION]}late", *fields[ACTION:]]


KINDS = (
    Kind("duplicate", 0.20, "duplicate", lambda fields, _: fields),
    Kind("late", 0.15, "routed", _late),
    Kind("null_person", 0.06, "quarantined", _put(user="", session="")),
    Kind("null_item", 0.06, "quarantined", _put(item="")),
    Kind("unknown_type", 0.05, "quarantined", _put(action="hover")),
    Kind("bad_time", 0.05, "quarantined", _put(time="yesterday")),
    Kind("bad_price", 0.06, "quarantined", _put(price="-1.00")),
    Kind("torn", 0.07, "quarantined", _torn),
)
ROBOT_SHARE = 1 - sum(kind.share for kind in KINDS)


def spoilt(
    lines: list[bytes], spoilable: np.ndarray, wanted: float, random: np.random.Generator
) -> tuple[list[bytes], dict[str, int]]:
    """Returns spoilt copies of clean rows and how many there are of each kind; no row is spoilt twice.

    Args:
        lines: clean rows.
        spoilable: places of those that are about an item.
        wanted: mean number of rows to spoil, robots included.
    """
    order = random.permutation(spoilable)
    made: list[bytes] = []
    counts: dict[str, int] = {}
    used = 0
    for kind in KINDS:
        count = min(int(random.poisson(wanted * kind.share)), len(order) - used)
        for place in order[used : used + count]:
            made.append(",".join(kind.spoil(lines[place].decode().split(","), random)).encode())
        counts[kind.name], used = count, used + count
    return made, counts


def robots(renderer: Renderer, part: int, wanted: float, random: np.random.Generator) -> tuple[list[bytes], int]:
    """Returns the rows of sessions that leaf through the catalogue faster than anybody can look.

    Args:
        part: of the day, so that no two robots share a session.
        wanted: mean number of rows; sessions are whole, so that small shops meet a robot on some days only.
    """
    sessions = int(random.poisson(wanted * ROBOT_SHARE / ROBOT_EVENTS))
    items, prices = renderer.items, renderer.prices
    made: list[bytes] = []
    for number in range(sessions):
        begin, first = random.integers(0, 86_000), random.integers(0, len(items))
        for n in range(ROBOT_EVENTS):
            time = renderer.time_text(int(begin) + n // ROBOT_VIEWS_A_SECOND)
            item = (int(first) + n) % len(items)
            made.append(
                f"{time},,robot{renderer.day:%Y%m%d}x{part}x{number},view,{items[item]},,{prices[item]},".encode()
            )
    return made, len(made)
