"""What a rule may measure: the vocabulary of the suites, with where it applies and how it is worked out."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.schema import CATALOGUE, EVENT, EVENT_TYPES

TABLES = {"events": EVENT, "catalogue": CATALOGUE}
DISTRIBUTIONS = {
    "events": ("event_type", "hour", "price", "quantity", "query_length", "category"),
    "catalogue": ("price", "category"),
}
"""Columns whose distribution over bins is kept of every day, by table."""

WHOLE = ("*",)
TYPES = {"text": ("string",), "number": ("float64", "int64")}
"""Metrics that compare values take columns of these types alone."""


@dataclass(frozen=True)
class Metric:
    """One thing a rule may be about.

    Attributes:
        kind: `rows` counts rows that offend, `share` divides them by the rows the rule speaks of, `day` needs the day
            alone, `trail` needs the days before it.
        tables: the suites it may stand in.
        columns: what `column` may name: `any`, `text`, `number`, `*`, `distribution`, `event_type`, or one column's
            name.
        says: one line for the reference page.
        needs: fields a rule must give besides.
        offence: what an offending row is, by the name of the metric that counts them; see offences.py.
    """

    kind: str
    tables: tuple[str, ...]
    columns: str
    says: str
    needs: tuple[str, ...] = ()
    offence: str = ""


BOTH, EVENTS_ONLY, CATALOGUE_ONLY = ("events", "catalogue"), ("events",), ("catalogue",)

METRICS = {
    "schema_differences": Metric("day", BOTH, "*", "Columns that are missing, unknown or of another type."),
    "rows": Metric("day", BOTH, "*", "Rows of the day."),
    "nulls": Metric("rows", BOTH, "any", "Rows without a value."),
    "null_share": Metric("share", BOTH, "any", "Share of rows without a value.", offence="nulls"),
    "blanks": Metric("rows", BOTH, "text", "Rows whose text is null or empty."),
    "outside_set": Metric("rows", BOTH, "text", "Rows whose value is null or none of `values`.", ("values",)),
    "outside_set_share": Metric("share", BOTH, "text", "The same as a share.", ("values",), "outside_set"),
    "outside_range": Metric("rows", BOTH, "number", "Rows below `lowest`, above `highest`, infinite or not a number."),
    "outside_range_share": Metric("share", BOTH, "number", "The same as a share.", offence="outside_range"),
    "without_person": Metric("rows", EVENTS_ONLY, "user_id", "Events with neither a user nor a session."),
    "outside_day": Metric("rows", EVENTS_ONLY, "event_time", "Events outside the day in the shop's time zone."),
    "after_as_of": Metric("rows", EVENTS_ONLY, "event_time", "Events later than the moment the run judges from."),
    "duplicates": Metric("day", BOTH, "any", "Rows whose value (of columns joined by +) another row of the day has."),
    "true_share": Metric("day", CATALOGUE_ONLY, "in_stock", "Share of true among the values that are not null."),
    "unknown_share": Metric("day", EVENTS_ONLY, "item_id", "Share of item events no catalogue up to that day names."),
    "age_hours": Metric(
        "day", EVENTS_ONLY, "event_time", "Hours from newest event to as-of time, the run's own newest day."
    ),
    "quarantined_share": Metric("day", EVENTS_ONLY, "*", "Share of the day's raw rows that ingest refused."),
    "unaccounted_rows": Metric("day", EVENTS_ONLY, "*", "Raw rows with no outcome, or clean ones not written."),
    "late_share": Metric("day", EVENTS_ONLY, "*", "Share of the day's events that came in a later day's files."),
    "volume_ratio": Metric("trail", EVENTS_ONLY, "*", "Events, as a multiple of what the trailing days let expect."),
    "volume_deviation": Metric("trail", EVENTS_ONLY, "*", "How far volume is off, in spreads of the trailing days."),
    "missing_hours": Metric("trail", EVENTS_ONLY, "event_time", "Empty hours that the weekday's trailing days fill."),
    "copied_days": Metric(
        "trail", EVENTS_ONLY, "*", "Trailing days the day is a copy of, hour by hour and bin by bin."
    ),
    "share_ratio": Metric(
        "trail", EVENTS_ONLY, "event_type", "An event type's share, as a multiple of its trailing one."
    ),
    "psi": Metric("trail", BOTH, "distribution", "Population stability index against the trailing days."),
    "psi_excess": Metric("trail", BOTH, "distribution", "The same, less what nine in ten trailing days stay below."),
    "js_divergence": Metric(
        "trail", BOTH, "distribution", "Jensen-Shannon divergence (base 2) from the trailing days."
    ),
    "null_share_rise": Metric(
        "trail", BOTH, "any", "Share of rows without a value, less the most of the trailing days."
    ),
    "left_out_share": Metric(
        "day",
        CATALOGUE_ONLY,
        "*",
        "Share of the catalogue files' rows that are torn or lack their item or a readable time.",
    ),
    "rows_ratio": Metric("trail", CATALOGUE_ONLY, "*", "Rows, as a multiple of the trailing days' median."),
}


def columns_of(metric: Metric, table: str) -> tuple[str, ...]:
    """Returns what a rule on this metric may name as its column."""
    known = {
        "*": WHOLE,
        "any": tuple(TABLES[table]),
        **{kind: tuple(n for n, type_ in TABLES[table].items() if type_ in types) for kind, types in TYPES.items()},
        "distribution": DISTRIBUTIONS[table],
        "event_type": EVENT_TYPES,
    }
    return known.get(metric.columns, (metric.columns,))
