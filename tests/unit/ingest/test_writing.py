from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.reading.ahead import ahead
from pipeline.ingest.writing import QUARANTINE_SCHEMA, ROWS_A_GROUP, quarantined, write_rows

PLACE = {"rule": "torn", "file_number": 1, "byte_offset": 7, "row_number": 1}
FILES = ["w.csv", "x.csv"]


def refused(*rows: dict[str, str | None]) -> pa.RecordBatch:
    columns = {name: [value] * len(rows) for name, value in PLACE.items()}
    columns |= {name: [row.get(name) for row in rows] for name in ("torn", 'raw_na"me', "raw_ü")}
    texts = {name: pa.array(column, pa.string()) for name, column in columns.items() if name not in PLACE}
    return pa.record_batch({name: pa.array(column) for name, column in columns.items() if name in PLACE} | texts)


def test_a_refused_row_is_told_as_json_dumps_would() -> None:
    values = ["plain", None, 'say "hi"', "back\\slash", "line\nend\r\t", "\x00\x1f\x7f", "Tür\u2028", "{}"]
    rows = [{'raw_na"me': value, "raw_ü": other} for value in values for other in values]
    (batch,) = quarantined([refused(*rows)], ['na"me', "ü"], FILES)
    expected = [{'na"me': row['raw_na"me'], "ü": row["raw_ü"]} for row in rows]
    assert batch.column("row").to_pylist() == [json.dumps(row, ensure_ascii=False) for row in expected]


def test_of_a_torn_row_only_what_tore_it_is_told() -> None:
    (batch,) = quarantined([refused({"torn": 'a "quote"', "raw_ü": "anna"})], ['na"me', "ü"], FILES)
    assert batch.column("source_file").to_pylist() == ["x.csv"]
    assert batch.column("row").to_pylist() == ['{"torn": "a \\"quote\\""}']


def test_equal_rows_give_equal_bytes_whatever_batches_they_come_in(tmp_path: Path) -> None:
    rows = 2 * ROWS_A_GROUP + 5
    columns = [["torn"] * rows, ["x.csv"] * rows, range(rows), range(rows), [f'{{"n": {n}}}' for n in range(rows)]]
    table = pa.table([pa.array(c) for c in columns], schema=QUARANTINE_SCHEMA)
    for name, length in (("small", 1000), ("large", rows)):
        assert write_rows(tmp_path / name, table.to_batches(length), QUARANTINE_SCHEMA) == rows
    assert (tmp_path / "small").read_bytes() == (tmp_path / "large").read_bytes()
    assert pq.read_table(tmp_path / "small").equals(table)
    groups = pq.ParquetFile(tmp_path / "small").metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [ROWS_A_GROUP, ROWS_A_GROUP, 5]


def test_what_making_ahead_raises_comes_after_the_items_made_before() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("the third page is torn")

    items = ahead(failing())
    assert next(items) == 1
    with pytest.raises(ValueError, match="the third page is torn"):
        next(items)


def test_who_stops_asking_stops_the_making() -> None:
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    before = set(threading.enumerate())
    items = ahead(endless())
    assert next(items) == 1
    items.close()
    assert closed == [True]
    assert set(threading.enumerate()) <= before
