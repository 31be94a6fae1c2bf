"""What a day's files say of the shop's items: from catalogue files, or from the columns of the events themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from pipeline.core.schema import CATALOGUE
from pipeline.ingest.canonical import catalogue_value, described, text_of
from pipeline.ingest.profile import DESCRIBED, CatalogueColumns, Layout, Profile
from pipeline.ingest.reading import read_rows
from pipeline.store.files import RawFile


def layout(profile: Profile) -> Layout:
    """Returns how catalogue files are read: like the events', in their own place."""
    catalogue = profile.catalogue
    words = catalogue.null_words
    return Layout(files=catalogue.files or "", format="csv", delimiter=catalogue.delimiter, null_words=words)


def columns(profile: Profile) -> tuple[str, ...]:
    """Returns the raw columns of catalogue files."""
    mapped = (getattr(profile.catalogue.columns, name) for name in CatalogueColumns.model_fields)
    return tuple(dict.fromkeys(column.column for column in mapped if column))


def schema(profile: Profile) -> pa.Schema:
    return pa.schema([("place", pa.int64()), *((f"raw_{name}", pa.string()) for name in columns(profile))])


def read_items(files: Sequence[RawFile], profile: Profile) -> Iterator[pa.RecordBatch]:
    """Yields the rows of the day's catalogue files; a torn row describes nothing and is left out."""
    wanted, place = schema(profile), 0
    for file in files:
        for rows in read_rows(file, layout(profile), columns(profile)):
            places = pa.array(range(place, place + len(rows.torn)), pa.int64())
            arrays = [places, *(column.combine_chunks() for column in rows.table.columns)]
            batch = pa.RecordBatch.from_arrays(arrays, schema=wanted)
            yield batch.filter(pa.array([why is None for why in rows.torn], pa.bool_()))
            place += len(rows.torn)


def items_of_files(profile: Profile) -> ir.Table:
    """Returns one row an item, the last that names it, valid from the beginning of the day (`asked.begin`)."""
    raw = ibis.table({"place": "int64"} | {f"raw_{name}": "string" for name in columns(profile)}, name="raw_items")
    mapped = profile.catalogue.columns
    rows = raw.mutate(item_id=text_of(raw, mapped.item_id))
    rows = rows.filter(rows.item_id.notnull())
    last = ibis.row_number().over(ibis.window(group_by=rows.item_id, order_by=ibis.desc(rows.place)))
    rows = rows.mutate(last=last)
    rows = rows.filter(rows["last"] == 0)
    values = {name: catalogue_value(rows, name, getattr(mapped, name)) for name in described_columns()}
    asked = ibis.table({"begin": "timestamp('UTC')"}, name="asked")
    rows = rows.select("item_id", **values).cross_join(asked.select(valid_from=asked.begin))
    return _in_order(rows)


def items_of_events(profile: Profile) -> ir.Table:
    """Returns one row an item met in clean rows: the day's last values, valid since they were first seen that day."""
    judged = ibis.table(described_events(), name="judged")
    clean = judged.filter(judged.outcome == "clean", judged.item_id.notnull())
    order = [clean.event_time, clean.source_file, clean.row_number]
    clean = clean.mutate(place=ibis.row_number().over(ibis.window(order_by=order)))
    names = described_columns()
    last = clean.group_by("item_id").agg(
        **{name: clean[f"item_{name}"].argmax(clean.place, where=clean[f"item_{name}"].notnull()) for name in names}
    )
    joined = clean.join(last.rename({f"last_{n}": n for n in names}), "item_id")
    same = [joined[f"item_{n}"].identical_to(joined[f"last_{n}"]) | joined[f"item_{n}"].isnull() for n in names]
    agree = ibis.and_(*same)
    keys = {n: joined[f"last_{n}"] for n in names}
    first = joined.event_time.min(where=agree)
    rows = joined.group_by("item_id", **keys).agg(valid_from=ibis.coalesce(first, joined.event_time.max()))
    return _in_order(rows)


def described_columns() -> list[str]:
    return list(DESCRIBED)


def described_events() -> dict[str, str]:
    """Returns the columns of judged rows a catalogue is made from."""
    place = {"source_file": "string", "row_number": "int64", "outcome": "string", "item_id": "string"}
    return place | {"event_time": "timestamp('UTC')"} | {f"item_{n}": CATALOGUE[n] for n in described_columns()}


def beside_events(rows: ir.Table, profile: Profile) -> ir.Table:
    """Adds what the rows say of their items, unless files of their own say it."""
    if profile.catalogue.files:
        return rows
    return rows.mutate(**{f"item_{name}": value for name, value in described(rows, profile).items()})


def _in_order(rows: ir.Table) -> ir.Table:
    return rows.select([rows[name].cast(kind).name(name) for name, kind in CATALOGUE.items()]).order_by("item_id")


def asked_moments(begin: datetime, end: datetime, horizon: datetime, oldest: datetime, first: bool) -> pa.Table:
    """Returns the one row of `asked`: what a compiled question does not know until a day is asked for."""
    moments = {"begin": begin, "end": end, "horizon": horizon, "oldest": oldest}
    kind = pa.timestamp("us", "UTC")
    return pa.table({n: pa.array([m], kind) for n, m in moments.items()} | {"first": pa.array([first], pa.bool_())})
