"""Writes the shop's files, a day at a time: a given seed and day always give the same bytes."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow.csv as pv

from pipeline.core.artifacts import write_beside
from pipeline.core.days import Days
from pipeline.core.progress import progress
from pipeline.core.sections import Simulate
from pipeline.simulate.dice import stream
from pipeline.simulate.dirt import KINDS, robots, spoilt
from pipeline.simulate.rendering import HEADER, Renderer, file_names
from pipeline.simulate.shop import Shop
from pipeline.simulate.visits import SEARCH, TYPES, Events, visits_of

LINES_A_WRITE = 50_000
DIRT_STREAM = 1 << 40
"""Numbers the random streams of dirt apart from those of visits, so that dirt changes no visit."""
ACTION_NAMES = {"add_to_cart": "cart", "remove_from_cart": "remove"}


def simulate(settings: Simulate, days: Days, folder: Path) -> list[dict[str, Any]]:
    """Writes every day's events, catalogue and truth into a folder and returns the truths."""
    folder.mkdir(parents=True, exist_ok=True)
    shop, truths = Shop(settings), []
    with progress("simulate", len(days), "days") as shown:
        for day in days:
            truths.append(write_day(shop, day, folder))
            shown.advance(1, rows=sum(truth["rows"] for truth in truths))
    return truths


def write_day(shop: Shop, day: date, folder: Path) -> dict[str, Any]:
    """Writes one day's three files, each beside its place and switched in; the events come last."""
    names, shelf = file_names(day), shop.shelf(day)
    with _switched_in(folder / names["catalogue"]) as file:
        buffer = io.BytesIO()
        pv.write_csv(shelf.catalogue(), buffer, pv.WriteOptions(quoting_style="none"))
        file.write(buffer.getvalue())
    with _switched_in(folder / names["events"]) as file:
        truth = _write_events(shop, day, Renderer(shelf), file)
        write_beside(folder / names["truth"], json.dumps(truth, indent=1))
    return truth


@contextmanager
def _switched_in(path: Path) -> Iterator[BinaryIO]:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as raw, gzip.GzipFile("", "wb", 4, raw, mtime=0) as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_events(shop: Shop, day: date, renderer: Renderer, file: BinaryIO) -> dict[str, Any]:
    file.write(HEADER + b"\n")
    types: Counter[str] = Counter()
    dirt: Counter[str] = Counter({kind.name: 0 for kind in KINDS} | {"robot": 0})
    for part, events in enumerate(visits_of(shop, day)):
        lines, spoils = _with_dirt(shop, events, renderer, part)
        for first in range(0, len(lines), LINES_A_WRITE):
            file.write(b"\n".join(lines[first : first + LINES_A_WRITE]) + b"\n")
        kinds = np.bincount(events.kind, minlength=len(TYPES))
        types.update({ACTION_NAMES.get(name, name): int(n) for name, n in zip(TYPES, kinds, strict=True)})
        dirt.update(spoils)
    return _truth(day, types, dirt)


def _with_dirt(shop: Shop, events: Events, renderer: Renderer, part: int) -> tuple[list[bytes], dict[str, int]]:
    """Returns clean and spoilt lines in one order, and how many of each kind were spoilt."""
    random = stream(shop.settings.seed, renderer.day, DIRT_STREAM + part)
    lines = renderer.lines(events)
    share = shop.settings.dirt_share
    wanted = len(lines) * share / (1 - share)
    made, counts = spoilt(lines, np.flatnonzero(events.kind != SEARCH), wanted, random)
    automatic, robot_rows = robots(renderer, part, wanted, random)
    dirty = made + automatic
    random.shuffle(dirty)
    where = np.sort(random.integers(0, len(lines) + 1, len(dirty)))
    for place, line in zip(where[::-1], dirty[::-1], strict=True):
        lines.insert(place, line)
    return lines, {**counts, "robot": robot_rows}


def _truth(day: date, types: Counter[str], dirt: Counter[str]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter({"clean": sum(types.values()), "robot": dirt["robot"]})
    for kind in KINDS:
        outcomes[kind.outcome] += dirt[kind.name]
    return {
        "day": str(day),
        "rows": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "event_types": {name: count for name, count in sorted(types.items()) if count},
        "dirt": dict(dirt),
    }
