"""The profile as Ibis expressions: raw text columns become canonical, typed ones."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from pipeline.ingest.batches import patterns
from pipeline.ingest.profile import DESCRIBED, PEOPLE, Column, Profile, Times

COUNTED = ("cart", "remove", "purchase", "cancel")
OFFSET = r"([zZ]|UTC|[+-]\d\d:?\d\d)\s*$"

_try_strptime = ibis.udf.scalar.builtin(
    lambda text, form: ..., name="try_strptime", signature=(("string", "string"), "timestamp")
)
_wall_clock_in = ibis.udf.scalar.builtin(
    lambda zone, at: ..., name="timezone", signature=(("string", "timestamp"), "timestamp('UTC')")
)


def raw_table(profile: Profile) -> ir.Table:
    """Returns the table of batches, unbound, with a row's file, place and every raw column."""
    columns = {"source_file": "string", "byte_offset": "int64", "row_number": "int64", "torn": "string"}
    columns |= dict.fromkeys(PEOPLE, "string")
    columns |= {f"seen_{n}": "boolean" for n in range(len(patterns(profile)))}
    return ibis.table(columns | {f"raw_{name}": "string" for name in profile.event_columns}, name="raw")


def canonical(raw: ir.Table, profile: Profile) -> ir.Table:
    """Adds the columns of `schema.EVENT`, and `given_price`, `given_quantity`, `given_time`: was there any text?"""
    columns = profile.events.columns
    typed = raw.mutate(
        item_id=text_of(raw, columns.item_id),
        query=text_of(raw, columns.query),
        event_type=_event_type(raw, profile),
        event_time=moment(text_of(raw, columns.event_time), profile.events.time),
        price=text_of(raw, columns.price).try_cast("float64"),
        pieces=text_of(raw, columns.quantity).try_cast("float64"),
        given_price=text_of(raw, columns.price).notnull(),
        given_quantity=text_of(raw, columns.quantity).notnull(),
    )
    sane = ibis.ifelse(typed.pieces.abs() < 2**53, typed.pieces, ibis.null("float64"))
    signed = ibis.ifelse(typed.event_type == "cancel", sane.abs(), sane)
    one = ibis.ifelse(typed.event_type.isin(COUNTED), 1, ibis.null("int64"))
    typed = typed.mutate(
        pieces=signed,
        quantity=ibis.ifelse(typed.given_quantity, signed.floor().cast("int64"), one),
        item_id=ibis.ifelse(typed.event_type == "search", ibis.null("string"), typed.item_id),
    )
    return typed.mutate(event_id=_event_id(typed))


def text_of(raw: ir.Table, column: Column | None) -> ir.StringValue:
    """Returns a raw column with the profile's replacements made; null where it is not mapped or nothing is left."""
    if column is None:
        return ibis.null("string")
    text = raw[f"raw_{column.column}"]
    for pattern, replacement in column.replace.items():
        text = text.re_replace(pattern, replacement)
    return text.nullif("") if column.replace else text


def _event_type(raw: ir.Table, profile: Profile) -> ir.StringValue:
    types = profile.events.event_type
    branches = [(raw[f"seen_{n}"], ibis.literal(rule.type)) for n, rule in enumerate(types.rules)]
    if types.column:
        said = raw[f"raw_{types.column}"]
        branches += [(said == word, ibis.literal(name)) for word, name in types.values.items()]
    otherwise = ibis.literal(types.otherwise) if types.otherwise else ibis.null("string")
    return ibis.cases(*branches, else_=otherwise) if branches else otherwise


def moment(text: ir.StringValue, times: Times) -> ir.TimestampValue:
    """Returns a moment in UTC; null where the text is no time of the profile's format."""
    if times.format in ("epoch_seconds", "epoch_milliseconds"):
        divisor = 1000 if times.format == "epoch_milliseconds" else 1
        number = text.try_cast("float64")
        sane = ibis.ifelse(number.between(0, 253_402_300_799 * divisor), number, ibis.null("float64"))
        return (sane * (1000 // divisor)).round().cast("int64").as_timestamp("ms").cast("timestamp('UTC')")
    if times.format == "iso":
        stated = text.try_cast("timestamp('UTC')")
        local = _wall_clock_in(times.zone, text.try_cast("timestamp"))
        return ibis.ifelse(text.re_search(OFFSET), stated, local)
    return _wall_clock_in(times.zone, _try_strptime(text, times.format))


def _event_id(events: ir.Table) -> ir.StringValue:
    """Says what happened in 32 hex digits, so that the same event found in two files has one id."""
    parts = [
        *(events[name] for name in ("user_id", "session_id", "item_id", "event_type", "query")),
        events.event_time.epoch_seconds().cast("string"),
        events.event_time.microsecond().cast("string"),
        (ibis.ifelse(events.price.abs() < 1e12, events.price, 0.0) * 10_000).round().cast("int64").cast("string"),
        events.quantity.cast("string"),
    ]
    return ibis.literal("\x1f").join([part.fill_null("\x1e") for part in parts]).hexdigest("md5")


def described(raw: ir.Table, profile: Profile) -> dict[str, ir.Value]:
    """Returns the catalogue's columns as the events' own columns tell them."""
    columns = profile.catalogue.columns
    return {name: catalogue_value(raw, name, getattr(columns, name)) for name in DESCRIBED}


def catalogue_value(raw: ir.Table, name: str, column: Column | None) -> ir.Value:
    """Returns one catalogue column of its canonical type."""
    text = text_of(raw, column)
    if name == "price":
        price = text.try_cast("float64")
        return ibis.ifelse(price.isnan() | price.isinf() | (price < 0), ibis.null("float64"), price)
    if name == "in_stock":
        return text.lower().isin(["1", "true", "yes", "y", "t"]) if column else ibis.null("boolean")
    if name == "category" and column and column.separator != "/":
        return text.replace(column.separator, "/")
    return text.re_replace(r"\s+", " ").strip().nullif("")
