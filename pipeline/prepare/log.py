"""The window's events as integer columns: joined, coded and ordered by the engine, handed over as arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.schema import EVENT_TYPES
from pipeline.prepare.window import Partition
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

CODE = {name: code for code, name in enumerate(EVENT_TYPES)}
IN_SEQUENCES = (CODE["view"], CODE["cart"], CODE["remove"], CODE["purchase"])
POSITIVE = (CODE["view"], CODE["cart"], CODE["purchase"])
NEVER = np.iinfo(np.int64).max
COLUMNS = ("event_id", "user_id", "session_id", "item_id", "event_type", "event_time", "query", "quantity")


@dataclass(frozen=True)
class Log:
    """Events ordered by actor, then time; searches before other events of the same moment, then by event id.

    An actor is a user, or a session where the user is unknown. All arrays but the names are [events].

    Attributes:
        actor, session, item, query: int32 codes, -1 for none.
        kind: uint8, index in `EVENT_TYPES`.
        time_us: int64, microseconds since 1970 in UTC.
        quantity: int64, pieces; 1 where the log does not say.
        offsets: int64 [actors + 1], where each actor's events begin.
        actors, items, queries: the names the codes stand for.
    """

    actor: np.ndarray
    session: np.ndarray
    item: np.ndarray
    query: np.ndarray
    kind: np.ndarray
    time_us: np.ndarray
    quantity: np.ndarray
    offsets: np.ndarray
    actors: Any
    items: Any
    queries: Any

    def __len__(self) -> int:
        return len(self.kind)

    def rows_of(self, actor: int) -> slice:
        return slice(int(self.offsets[actor]), int(self.offsets[actor + 1]))


def read_log(engine: Engine, partitions: Sequence[Partition], begin: datetime, end: datetime) -> Log:
    """Reads the events of these days, and those their files held for other days, from `begin` until before `end`.

    Impressions stay out: nobody chose them.
    """
    events = _with_routed(engine, partitions)
    wanted = [name for name in EVENT_TYPES if name != "impression"]
    inside = (events.event_time >= begin) & (events.event_time < end) & events.event_type.isin(wanted)
    known = events.user_id.notnull()
    named = events.filter(inside).mutate(known=known, actor_name=known.ifelse(events.user_id, events.session_id))
    table = engine.keep("log", named)
    actors = _coded(engine, "actors", table, ("known", "actor_name"), descending="known")
    names = {c: _coded(engine, f"{c}_names", table, (c,)) for c in ("session_id", "item_id", "query")}
    return _as_arrays(engine, _ordered(table, actors, names), actors, names)


def _with_routed(engine: Engine, partitions: Sequence[Partition]) -> ir.Table:
    import ibis

    events = engine.read([p.path("events.parquet") for p in partitions]).select(*COLUMNS)
    late = [
        p.path("routed.parquet") for p in partitions if json.loads(p.artifact.file("counts.json").read_text())["routed"]
    ]
    if not late:
        return events
    routed = engine.read(late).select(*COLUMNS)
    # The same row may lie in the files of several days.
    order = [routed[name] for name in COLUMNS]
    first = routed.mutate(nth=ibis.row_number().over(group_by=routed.event_id, order_by=order))
    once = first.filter(first.nth == 0).drop("nth")
    return events.union(once.anti_join(events, "event_id").select(*COLUMNS))


def _coded(engine: Engine, name: str, table: ir.Table, columns: tuple[str, ...], descending: str = "") -> ir.Table:
    """Numbers the distinct values from 0 in their order, so that equal logs get equal codes."""
    import ibis

    distinct = table.filter(*(table[c].notnull() for c in columns)).select(*columns).distinct()
    order = [ibis.desc(distinct[c]) if c == descending else distinct[c] for c in columns]
    numbered = distinct.mutate(code=ibis.row_number().over(order_by=order))
    return engine.keep(name, numbered)


def _ordered(table: ir.Table, actors: ir.Table, names: dict[str, ir.Table]) -> ir.Table:
    import ibis

    kinds = ibis.literal(0)
    for name, code in CODE.items():
        kinds = (table.event_type == name).ifelse(code, kinds)
    plain = table.select(
        *("event_id", "known", "actor_name", "session_id", "item_id", "query"),
        kind=kinds.cast("uint8"),
        time=table.event_time.cast("timestamp('UTC', 6)"),
        quantity=table.quantity.fill_null(1),
        later=(table.event_type != "search").cast("int8"),
    )
    coded = plain.join(actors.rename(actor="code"), ["known", "actor_name"])
    for column, short in (("session_id", "session"), ("item_id", "item"), ("query", "text")):
        coded = coded.left_join(names[column].rename({short: "code"}), column).drop(f"{column}_right")
    ints = coded.select(
        actor=coded.actor.cast("int32"),
        **{name: coded[name].fill_null(-1).cast("int32") for name in ("session", "item", "text")},
        kind=coded.kind,
        time=coded.time,
        quantity=coded.quantity,
        later=coded.later,
        event_id=coded.event_id,
    )
    # Chosen columns keep the ORDER BY outermost, where an engine must heed it; dropped ones would push it inside.
    kept = [name for name in ints.columns if name not in ("later", "event_id")]
    return ints.order_by("actor", "time", "later", "event_id").select(*kept)


def _as_arrays(engine: Engine, ordered: ir.Table, actors: ir.Table, names: dict[str, ir.Table]) -> Log:
    import pyarrow as pa

    table = engine.answer(ordered)
    columns = {name: table[name].to_numpy() for name in ("actor", "session", "item", "text", "kind", "quantity")}
    time_us = table["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    texts = {c: engine.answer(t.order_by("code"))[c] for c, t in names.items() if c != "session_id"}
    people = engine.answer(actors.order_by("code"))["actor_name"]
    offsets = np.searchsorted(columns["actor"], np.arange(len(people) + 1)).astype(np.int64)
    query = columns.pop("text")
    return Log(
        **columns,
        query=query,
        time_us=time_us,
        offsets=offsets,
        actors=people.combine_chunks(),
        items=texts["item_id"].combine_chunks(),
        queries=texts["query"].combine_chunks(),
    )
