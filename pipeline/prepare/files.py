"""The training set as files, byte for byte the same from the same inputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from pipeline.core.schema import CATALOGUE, EVENT_TYPES, QUERY
from pipeline.prepare.log import Log
from pipeline.prepare.queries import EvaluationQuery
from pipeline.prepare.split import Split
from pipeline.prepare.training import Training
from pipeline.prepare.window import Partition
from pipeline.store.engine import Engine

if TYPE_CHECKING:
    import ibis.expr.types as ir

DESCRIBED = ("category", "brand", "title", "price", "in_stock")


def write_sequences(folder: Path, training: Training) -> None:
    """Writes the flat arrays and the texts their targets answer."""
    arrays = {
        "sequence_items": training.items.astype(np.int32),
        "sequence_types": training.types.astype(np.uint8),
        "sequence_times": training.times.astype(np.int64),
        "sequence_offsets": training.offsets.astype(np.int64),
        "targets": training.targets.astype(np.int64),
        "target_queries": training.target_queries.astype(np.int32),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    (folder / "queries.json").write_text(json.dumps(training.queries, ensure_ascii=False))


def write_items(path: Path, training: Training, log: Log, descriptions: pa.Table) -> None:
    """Writes the vocabulary with each item's catalogue fields; an item the catalogue lacks keeps nulls."""
    names = log.items.take(training.vocabulary)
    place = {name: row for row, name in enumerate(descriptions["item_id"].to_pylist())}
    rows = pa.array([place.get(name) for name in names.to_pylist()], pa.int64())
    columns = {
        "index": pa.array(np.arange(1, len(names) + 1, dtype=np.int32)),
        "item_id": names,
        **{name: descriptions[name].combine_chunks().take(rows) for name in DESCRIBED},
        "events": pa.array(training.events.astype(np.int64)),
        "probability": pa.array(training.probability),
    }
    parquet.write_table(pa.table(columns), path)


def describe_items(engine: Engine, partitions: Sequence[Partition], validation_start: datetime) -> pa.Table:
    """Returns for each item the newest catalogue row valid before validation began, from these days' catalogues."""
    schema = {"filename": "string", "nth_day": "int64"}
    files = [{"filename": p.path("catalogue.parquet"), "nth_day": n} for n, p in enumerate(partitions)]
    days = ibis.memtable(files, schema=schema)
    catalogue = engine.read([row["filename"] for row in files], "filename").join(days, "filename")
    valid = catalogue.filter(catalogue.valid_from < validation_start)
    newest_first = [ibis.desc(valid.valid_from), ibis.desc(valid.nth_day), *(valid[name] for name in DESCRIBED)]
    ranked = valid.mutate(nth=ibis.row_number().over(group_by=valid.item_id, order_by=newest_first))
    newest: ir.Table = ranked.filter(ranked.nth == 0).select(*CATALOGUE).order_by("item_id")
    return engine.answer(newest)


def write_queries(path: Path, queries: Sequence[EvaluationQuery], log: Log) -> None:
    """Writes `schema.QUERY`."""
    schema = ibis.schema(QUERY).to_pyarrow()
    history = [query.history for query in queries]
    kinds = np.array(EVENT_TYPES, dtype=object)
    columns = {
        "query_id": range(len(queries)),
        "user": [log.actors[query.actor].as_py() for query in queries],
        "kind": [query.kind for query in queries],
        "time": [query.time_us for query in queries],
        "history_item_ids": _named(log, (log.item[rows] for rows in history)),
        "history_event_types": [kinds[log.kind[rows]].tolist() for rows in history],
        "history_times": [log.time_us[rows].tolist() for rows in history],
        "query": [log.queries[query.text].as_py() if query.text >= 0 else None for query in queries],
        "target_item_ids": _named(log, (query.targets for query in queries)),
        "new_target_item_ids": _named(log, (query.new_targets for query in queries)),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), path)


def _named(log: Log, codes: Iterable[np.ndarray]) -> list[list[str]]:
    return [log.items.take(each).to_pylist() for each in codes]


def write_split(path: Path, split: Split, counts: Mapping[str, int]) -> None:
    """Writes where time was cut; `data_end` is the test's start, for nothing later was seen by training or choice."""
    record = {
        "window": [str(split.first), str(split.last)],
        "validation_start": split.validation_start.isoformat(),
        "test_start": split.test_start.isoformat(),
        "test_end": split.test_end.isoformat(),
        "data_end": split.test_start.isoformat(),
        "counts": dict(counts),
    }
    path.write_text(json.dumps(record, indent=1))
