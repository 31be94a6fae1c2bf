"""The window's events as integer columns: joined, coded and ordered by the engine, handed over as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.schema import EVENT_TYPES
from pipeline.prepare.arrays import Columns
from pipeline.prepare.window import Partition
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

CODE = {name: code for code, name in enumerate(EVENT_TYPES)}
IN_SEQUENCES = (CODE["view"], CODE["cart"], CODE["remove"], CODE["purchase"])
POSITIVE = (CODE["view"], CODE["cart"], CODE["purchase"])
UNCODED = -2
SESSIONS, ITEMS = "sessions", "items"
NEVER = np.iinfo(np.int64).max
COLUMNS = ("event_id", "user_id", "session_id", "item_id", "event_type", "event_time", "query", "quantity", "context")
TYPES = {
    "actor": np.int32,
    "session": np.int32,
    "item": np.int32,
    "query": np.int32,
    "context": np.int32,
    "kind": np.uint8,
    "time_us": np.int64,
    "quantity": np.int32,
}
MOST_PIECES = 2**31 - 1


@dataclass(frozen=True)
class Log:
    """Events ordered by actor, then time; of one moment searches first, cancels last, then by event id.

    An actor is a user, or a session where the user is unknown. All arrays but the names are [events].

    Attributes:
        actor, session, item, query, context: int32 codes in the order of the names, -1 for none; a session that nothing
            asks about is `UNCODED`.
        kind: uint8, index in `EVENT_TYPES`.
        time_us: int64, microseconds since 1970 in UTC.
        quantity: int32, pieces; 1 where the log does not say.
        offsets: int64 [actors + 1], where each actor's events begin.
        actors, items, queries, contexts: the names the codes stand for, as Arrow strings.
    """

    actor: np.ndarray
    session: np.ndarray
    item: np.ndarray
    query: np.ndarray
    context: np.ndarray
    kind: np.ndarray
    time_us: np.ndarray
    quantity: np.ndarray
    offsets: np.ndarray
    actors: Any
    items: Any
    queries: Any
    contexts: Any

    def __len__(self) -> int:
        return len(self.kind)


def read_log(engine: Engine, partitions: Sequence[Partition], folder: Path) -> Log:
    """Reads the events of these days into arrays that lie in `folder`; the log is good as long as it is there.

    Impressions stay out: nobody chose them (see `exposures`).
    """
    import ibis

    events = engine.read([p.path("events.parquet") for p in partitions])
    if "context" not in events.columns:
        # Days ingested before contexts were known are published still.
        events = events.mutate(context=ibis.null("string"))
    events = events.select(*COLUMNS)
    wanted = [name for name in EVENT_TYPES if name != "impression"]
    chosen, known = events.filter(events.event_type.isin(wanted)), events.user_id.notnull()
    named = chosen.mutate(known=known, actor_name=known.ifelse(chosen.user_id, chosen.session_id))
    actors = _coded(engine, "actors", named, ("known", "actor_name"), descending="known")
    names = {
        "session_id": _coded(engine, SESSIONS, _sessions_asked_about(events, named), ("session_id",)),
        "item_id": _coded(engine, ITEMS, named, ("item_id",)),
        "query": _coded(engine, "texts", named, ("query",)),
        "context": _coded(engine, "contexts", named, ("context",)),
    }
    arrays = _stored(engine, _ordered(named, actors, names), folder)
    people = _names(engine, actors, "actor_name")
    offsets = np.searchsorted(arrays["actor"], np.arange(len(people) + 1)).astype(np.int64)
    items, queries, contexts = (_names(engine, names[column], column) for column in ("item_id", "query", "context"))
    return Log(**arrays, offsets=offsets, actors=people, items=items, queries=queries, contexts=contexts)


def _sessions_asked_about(events: ir.Table, named: ir.Table) -> ir.Table:
    """Returns sessions with a search, and those where goods were shown and some chosen.

    The others share one code, for their names are many to sort.
    """
    shown = events.filter(events.event_type == "impression").select("session_id")
    chosen = named.filter(named.event_type.isin([EVENT_TYPES[code] for code in POSITIVE])).select("session_id")
    searches = named.filter(named.event_type == "search").select("session_id")
    return searches.union(chosen.semi_join(shown, "session_id"))


def _coded(engine: Engine, name: str, table: ir.Table, columns: tuple[str, ...], descending: str = "") -> ir.Table:
    """Numbers the distinct values from 0 in their order, so that equal logs get equal codes."""
    import ibis

    distinct = table.filter(table[columns[-1]].notnull()).select(*columns).distinct()
    order = [ibis.desc(distinct[c]) if c == descending else distinct[c] for c in columns]
    numbered = distinct.mutate(code=ibis.row_number().over(order_by=order).cast("int32"))
    return engine.keep(name, numbered)


def _ordered(table: ir.Table, actors: ir.Table, names: Mapping[str, ir.Table]) -> ir.Table:
    import ibis

    kinds = ibis.literal(0)
    for name, code in CODE.items():
        kinds = (table.event_type == name).ifelse(code, kinds)
    # A cancel takes back what was bought in its own moment too, so it comes after it.
    turn = (table.event_type == "search").ifelse(0, (table.event_type == "cancel").ifelse(2, 1))
    plain = table.select(
        *("event_id", "known", "actor_name", "session_id", "item_id", "query", "context"),
        kind=kinds.cast("int16"),
        time=table.event_time.cast("timestamp('UTC', 6)"),
        quantity=table.quantity.fill_null(1).clip(-MOST_PIECES, MOST_PIECES).cast("int32"),
        turn=turn.cast("int16"),
        uncoded=table.session_id.isnull().ifelse(-1, UNCODED).cast("int32"),
    )
    coded = plain.join(actors.rename(actor="code"), ["known", "actor_name"])
    for column, short in (("session_id", "session"), ("item_id", "item"), ("query", "text"), ("context", "said")):
        coded = coded.left_join(names[column].rename({short: "code"}), column).drop(f"{column}_right")
    ints = coded.select(
        *("actor", "kind", "time", "quantity", "turn", "event_id"),
        session=coded.session.fill_null(coded.uncoded).cast("int32"),
        **{name: coded[name].fill_null(-1).cast("int32") for name in ("item", "text", "said")},
    )
    # Chosen columns keep the ORDER BY outermost, where an engine must heed it; dropped ones would push it inside.
    kept = [name for name in ints.columns if name not in ("turn", "event_id")]
    return ints.order_by("actor", "time", "turn", "event_id").select(*kept)


def _stored(engine: Engine, ordered: ir.Table, folder: Path) -> dict[str, np.ndarray]:
    import pyarrow as pa

    with Columns(folder, TYPES) as columns:
        for batch in engine.ask(ordered):
            for name in ("actor", "session", "item", "kind", "quantity"):
                columns.append(name, batch[name].to_numpy())
            columns.append("query", batch["text"].to_numpy())
            columns.append("context", batch["said"].to_numpy())
            columns.append("time_us", batch["time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy())
    return columns.mapped()


def _names(engine: Engine, coded: ir.Table, column: str) -> Any:
    """Returns names by code; large strings, for millions of pseudonyms are more bytes than small offsets can count."""
    import pyarrow as pa

    return engine.answer(coded.order_by("code").select(column, "code"))[column].cast(pa.large_string()).combine_chunks()
