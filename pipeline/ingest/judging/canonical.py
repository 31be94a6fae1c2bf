"""The profile as Ibis expressions: raw text columns become canonical, typed ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from pipeline.core.schema import CATALOGUE, CONTEXT_LETTERS
from pipeline.ingest.judging.times import clock, moment_from, number_of, numbers_of
from pipeline.ingest.profiles.profile import DESCRIBED, PEOPLE, Column, Profile
from pipeline.ingest.reading import batches
from pipeline.store.words import micros_of

COUNTED = ("cart", "remove", "purchase", "cancel")
SPACE = r"[ \t\n\r\f\x0b]"
"""Spelt out, because engines differ in what white space is."""
SPACES, SEPARATOR = f"{SPACE}+", f"{SPACE}*/{SPACE}*"
PRICE_STEPS = 10_000
"""Of a piece of money: what two prices differ in beyond it is the noise of floats."""
LARGEST_ROUNDED = 1e12


def raw_table(profile: Profile) -> ir.Table:
    """Returns the table of batches, unbound."""
    return ibis.table(ibis.Schema.from_pyarrow(batches.schema(profile)), name="raw")


def canonical(raw: ir.Table, profile: Profile) -> ir.Table:
    """Returns the columns of `schema.EVENT` but the id, the raw row's place, and what rules ask for besides.

    `wall` and `stated` are what the time said, `given_price` and `given_quantity` whether there was any text, `pieces`
    the quantity before it was made a whole number. The other columns of `raw` stay.
    """
    columns = profile.events.columns
    price, quantity = text_of(raw, columns.price), text_of(raw, columns.quantity)
    wall, stated = clock(text_of(raw, columns.event_time), profile.events.time)
    read = raw.mutate(
        item_id=text_of(raw, columns.item_id),
        query=text_of(raw, columns.query),
        context=context_of(raw, profile.events.context),
        event_type=_event_type(raw, profile),
        wall=wall,
        stated=stated,
        price=price_of(price),
        pieces=number_of(quantity),
        given_price=price.notnull(),
        given_quantity=quantity.notnull(),
    )
    sane = ibis.ifelse(read.pieces.abs() < 2**53, read.pieces, ibis.null("float64"))
    signed = ibis.ifelse(read.event_type == "cancel", sane.abs(), sane)
    typed = read.mutate(
        event_time=moment_from(read.wall, read.stated, profile.events.time.zone),
        pieces=signed,
        item_id=ibis.ifelse(read.event_type == "search", ibis.null("string"), read.item_id),
    )
    one = ibis.ifelse(typed.event_type.isin(COUNTED), 1, ibis.null("int64"))
    return typed.mutate(quantity=ibis.ifelse(typed.given_quantity, typed.pieces.floor().cast("int64"), one))


def text_of(raw: ir.Table, column: Column | None) -> ir.StringValue:
    """Returns a column with the profile's replacements made; null where it is not mapped or nothing is left.

    Replacements are made before the rows reach an engine, since engines do not agree on regular expressions.
    """
    if column is None:
        return ibis.null("string")
    return raw[batches.text_name(column) if column.replace else f"raw_{column.column}"]


def context_of(raw: ir.Table, columns: Mapping[str, Column]) -> ir.StringValue:
    """Returns what a row says under each name, told as `model.context` tells it; a null is left out."""
    texts = {name: spaced(text_of(raw, column).replace(";", ",")) for name, column in columns.items()}
    pairs = [ibis.literal(f"{name}=") + text.left(CONTEXT_LETTERS).strip() for name, text in texts.items()]
    return ibis.literal("; ").join(pairs).nullif("") if pairs else ibis.null("string")


def _event_type(raw: ir.Table, profile: Profile) -> ir.StringValue:
    types = profile.events.event_type
    branches = [(raw[f"seen_{n}"], ibis.literal(rule.type)) for n, rule in enumerate(types.rules)]
    if types.column:
        said = raw[f"raw_{types.column}"]
        branches += [(said == word, ibis.literal(name)) for word, name in types.values.items()]
    otherwise = ibis.literal(types.otherwise) if types.otherwise else ibis.null("string")
    return ibis.cases(*branches, else_=otherwise) if branches else otherwise


def price_of(text: ir.StringValue) -> ir.FloatingValue:
    """Returns a price as exact as `event_id` tells it, so that the rules see the same event where it does."""
    price = number_of(text)
    return ibis.ifelse(price.abs() < LARGEST_ROUNDED, _steps(price) / PRICE_STEPS, price)


def _steps(price: ir.FloatingValue) -> ir.IntegerValue:
    countable = ibis.ifelse(price.abs() >= LARGEST_ROUNDED, 0.0, price)
    return (countable * PRICE_STEPS + 0.5).floor().cast("int64")


def event_id(events: ir.Table) -> ir.StringValue:
    """Says what happened in 32 hex digits, so that the same event found in two files has one id."""
    # Half of a pseudonym's digits tell people apart, and hash in half the time.
    people = (events[name].left(32) for name in PEOPLE)
    parts = [
        *people,
        *(events[name] for name in ("item_id", "event_type", "query")),
        *(number.cast("string") for number in (micros_of(events.event_time), _steps(events.price), events.quantity)),
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
        price = number_of(text)
        return ibis.ifelse(price < 0, ibis.null("float64"), price)
    if name == "in_stock":
        return text.lower().isin(["1", "true", "yes", "y", "t"]) if column else ibis.null("boolean")
    if name == "vector":
        return numbers_of(text) if column else ibis.null(CATALOGUE["vector"])
    if name == "category" and column:
        text = text.replace(column.separator, "/").re_replace(SEPARATOR, "/")
    return spaced(text)


def spaced(text: ir.StringValue) -> ir.StringValue:
    """Returns a text with one space where there was white space, none at its ends; null where nothing is left."""
    return text.re_replace(SPACES, " ").strip().nullif("")


def category_of(name: str) -> str:
    """Returns the name of a category as `catalogue_value` writes it."""
    return re.sub(SPACES, " ", re.sub(SEPARATOR, "/", name))
