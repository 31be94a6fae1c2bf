"""The training set as files, byte for byte the same from the same inputs; `training` writes the long arrays itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from pipeline.core.errors import DataError
from pipeline.core.schema import CATALOGUE, EVENT_TYPES, QUERY
from pipeline.prepare.log import Log
from pipeline.prepare.queries import EvaluationQuery
from pipeline.prepare.split import Split
from pipeline.prepare.training import Training
from pipeline.prepare.window import Partition
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

DESCRIBED = {
    "category": pa.string(),
    "brand": pa.string(),
    "title": pa.string(),
    "price": pa.float64(),
    "in_stock": pa.bool_(),
    "vector": pa.list_(pa.float64()),
}


def write_texts(path: Path, texts: Sequence[str]) -> None:
    """Writes texts that arrays name by their places."""
    path.write_text(json.dumps(texts, ensure_ascii=False))


def write_items(path: Path, training: Training, descriptions: pa.Table, end: datetime) -> None:
    """Writes the vocabulary with each item's catalogue fields; an item the catalogue lacks keeps nulls.

    Args: end: of training.
    Raises: DataError: two items' vectors differ in length.
    """
    names = training.vocabulary.names.cast(pa.string())
    rows = pc.index_in(names, value_set=descriptions["item_id"].cast(pa.string()).combine_chunks())
    columns = {
        "index": pa.array(np.arange(1, len(names) + 1, dtype=np.int32)),
        "item_id": names,
        **{name: descriptions[name].cast(kind).combine_chunks().take(rows) for name, kind in DESCRIBED.items()},
        "events": pa.array(training.events.astype(np.int64)),
        "age_days": _ages(training, descriptions["since"].combine_chunks().take(rows), end),
        "probability": pa.array(training.probability),
        "previous_index": pa.array(training.vocabulary.previous),
    }
    _refuse_unequal_vectors(names, columns["vector"])
    parquet.write_table(pa.table(columns), path)


def _ages(training: Training, since: pa.Array, end: datetime) -> pa.Array:
    """Returns int32: of items that were met, days since they first were; of others, since they were first listed."""
    seconds = pc.subtract(pa.scalar(end, since.type), since).cast(pa.duration("s"), safe=False).cast(pa.int64())
    listed_days = pc.divide(seconds, int(timedelta(days=1).total_seconds())).cast(pa.int32())
    return pc.if_else(pa.array(training.events > 0), pa.array(training.age_days), listed_days)


def _refuse_unequal_vectors(names: pa.Array, vectors: pa.ListArray) -> None:
    lengths = pc.list_value_length(vectors)
    other = pc.not_equal(lengths, pc.max(lengths))
    if pc.any(other).as_py():
        shorter, longer = (names[pc.index(mask, True).as_py()] for mask in (other, pc.invert(other)))
        raise DataError(
            f"The catalogue's vector of item {shorter} holds {pc.min(lengths)} numbers and that of {longer} "
            f"{pc.max(lengths)}; vectors are compared number by number, so give all items vectors of one length."
        )


def describe_items(engine: Engine, partitions: Sequence[Partition], validation_start: datetime) -> pa.Table:
    """Returns for each item the newest catalogue row valid before validation began, from these days' catalogues.

    Of rows valid from the same moment the one stated on the latest day counts; `nth_day` is that day's place among the
    partitions. `since` is when the first row of the item began to be valid, null where that was when any did: it may
    have been listed long before these days. Only then are columns other than the id and the times read, for a catalogue
    that is stated whole every night is long.
    """
    import ibis

    days = ibis.memtable(
        [{"file": p.path("catalogue.parquet"), "nth_day": n} for n, p in enumerate(partitions)],
        schema={"file": "string", "nth_day": "int64"},
    )
    stated = engine.read([p.path("catalogue.parquet") for p in partitions], "file").join(days, "file")
    if "vector" not in stated.columns:
        # Days ingested before vectors were known are published still.
        stated = stated.mutate(vector=ibis.null(CATALOGUE["vector"]))
    valid = stated.filter(stated.valid_from < validation_start)
    moment = ibis.struct({"valid_from": valid.valid_from, "nth_day": valid.nth_day})
    newest = valid.group_by("item_id").agg(newest=moment.max(), since=valid.valid_from.min())
    since = newest.since.nullif(newest.since.min().over())
    named = newest.select("item_id", valid_from=newest.newest.valid_from, nth_day=newest.newest.nth_day, since=since)
    chosen = valid.join(engine.keep("newest", named), ["item_id", "valid_from", "nth_day"])
    return engine.answer(_first_of_each(chosen).order_by("item_id"))


def _first_of_each(rows: ir.Table) -> ir.Table:
    """Keeps one row an item, where a day's catalogue states several of one moment."""
    import ibis

    order = [ibis.asc(rows[name], nulls_first=True) for name in DESCRIBED]
    ranked = rows.mutate(nth=ibis.row_number().over(group_by=rows.item_id, order_by=order))
    return ranked.filter(ranked.nth == 0).select(*CATALOGUE, "nth_day", "since")


def listed_items(descriptions: pa.Table, partitions: Sequence[Partition], last_days: int) -> pa.Array:
    """Returns the ids of items described on one of the last days and not as out of stock, in their order."""
    since = partitions[-1].day - timedelta(days=last_days)
    described = pc.greater_equal(descriptions["nth_day"], sum(partition.day <= since for partition in partitions))
    listed = pc.and_(described, pc.fill_null(descriptions["in_stock"], True))
    return descriptions["item_id"].filter(listed).cast(pa.large_string()).combine_chunks()


def write_queries(path: Path, queries: Sequence[EvaluationQuery], log: Log) -> None:
    """Writes `schema.QUERY`."""
    import ibis

    schema = ibis.schema(QUERY).to_pyarrow()
    history = [query.history for query in queries]
    rows = np.concatenate(history) if history else np.zeros(0, np.int64)
    texts = np.array([query.text for query in queries], np.int64)
    contexts = log.context[[query.asked for query in queries]]
    columns = {
        "query_id": pa.array(np.arange(len(queries))),
        "user": log.actors.take([query.actor for query in queries]),
        "kind": pa.array([query.kind for query in queries], pa.string()),
        "time": pa.array([query.time_us for query in queries], pa.int64()),
        "history_item_ids": _lists(history, log.items.take(log.item[rows])),
        "history_event_types": _lists(history, pa.array(EVENT_TYPES).take(log.kind[rows])),
        "history_times": _lists(history, pa.array(log.time_us[rows])),
        "query": log.queries.take(pa.array(texts, mask=texts < 0)),
        "context": log.contexts.take(pa.array(contexts, mask=contexts < 0)),
        "target_item_ids": _named([query.targets for query in queries], log),
        "new_target_item_ids": _named([query.new_targets for query in queries], log),
    }
    arrays = [columns[field.name].cast(field.type) for field in schema]
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


def _named(codes: Sequence[np.ndarray], log: Log) -> pa.ListArray:
    return _lists(codes, log.items.take(np.concatenate(codes)) if codes else log.items.slice(0, 0))


def _lists(like: Sequence[np.ndarray], values: Any) -> pa.ListArray:
    """Parts values into lists as long as those given."""
    ends = np.cumsum([0, *map(len, like)])
    return pa.LargeListArray.from_arrays(pa.array(ends), values)


def write_split(path: Path, split: Split, counts: Mapping[str, int], base: Mapping[str, str] | None) -> None:
    """Writes where time was cut; `data_end` is the test's start, for nothing later was seen by training or choice."""
    record = {
        "window": [str(split.first), str(split.last)],
        "validation_start": split.validation_start.isoformat(),
        "test_start": split.test_start.isoformat(),
        "test_end": split.test_end.isoformat(),
        "data_end": split.test_start.isoformat(),
        "grown_from": dict(base) if base else None,
        "counts": dict(counts),
    }
    path.write_text(json.dumps(record, indent=1))
