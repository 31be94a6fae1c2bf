from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import DataError, MissingInputError, UsageError
from pipeline.ingest.reading import records
from pipeline.ingest.reading.records import MAX_RECORD_BYTES, blocks, decompressed

HEADER = b"when,who,visit,what,sku,words,cost,pieces\n"
ROW = b"2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,\n"


def cut(data: bytes, delimiter: str | None = ",", chunk_bytes: int = 7) -> list[tuple[int, bytes]]:
    """Cuts data that arrives in small chunks, and checks that each record is where its offset says."""
    chunks = (data[n : n + chunk_bytes] for n in range(0, len(data), chunk_bytes))
    found = [
        (block.offset + int(block.begins[n]), block.record(n))
        for block in blocks(chunks, delimiter)
        for n in range(len(block))
    ]
    assert all(data[at : at + len(record)] == record for at, record in found)
    return found


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\nc,d\n", [b"a,b", b"c,d"]),
        (b"a,b\r\nc,d", [b"a,b", b"c,d"]),
        (b"\xef\xbb\xbfa,b\n", [b"a,b"]),
        (b"a\n\n\r\nb\n", [b"a", b"b"]),
        (b'1,"x\ny",2\n3,4,5\n', [b'1,"x\ny",2', b"3,4,5"]),
        (b'1,"x\r\ny"\r\n3,4\r\n', [b'1,"x\r\ny"', b"3,4"]),
        (b'1,"say ""hi""\nyou"\n2,b\n', [b'1,"say ""hi""\nyou"', b"2,b"]),
        (b'1,12" plate\n2,10" plate\n', [b'1,12" plate', b'2,10" plate']),
        (b'1,"never closed\n2,b\n3,c\n', [b'1,"never closed', b"2,b", b"3,c"]),
        (b'1,"never closed\n2,"b, c"\n3,c\n', [b'1,"never closed', b'2,"b, c"', b"3,c"]),
        (b"", []),
    ],
)
def test_records_are_cut_where_csv_says_they_end(data: bytes, expected: list[bytes], chunk_bytes: int) -> None:
    assert [record for _, record in cut(data, chunk_bytes=chunk_bytes)] == expected


def test_lines_of_json_end_at_every_newline_whatever_quotes_they_hold() -> None:
    assert [r for _, r in cut(b'{"a": "\n"b"}\n', delimiter=None)] == [b'{"a": "', b'"b"}']


def test_a_quote_that_never_closes_spoils_one_record_of_a_long_file() -> None:
    lines = b"2,plain\n" * (2 * MAX_RECORD_BYTES // 8)
    found = cut(b'1,"open\n' + lines, chunk_bytes=1 << 18)
    assert len(found) == 1 + 2 * MAX_RECORD_BYTES // 8


def test_gzip_is_told_by_its_bytes_and_not_by_a_name() -> None:
    packed = gzip.compress(b"hello")
    assert b"".join(decompressed(io.BytesIO(packed), "x.csv")) == b"hello"
    assert b"".join(decompressed(io.BytesIO(b"hello"), "x.csv.gz")) == b"hello"
    assert b"".join(decompressed(io.BytesIO(b"h"), "x")) == b"h"


def test_large_files_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch, source) -> None:
    monkeypatch.setattr(records, "BLOCK_BYTES", 64)
    source.write(*[f"2026-01-05T10:00:{n:02}Z,anna,v1,seen,sku{n},,1.00," for n in range(40)])
    assert source.ingest().counts["clean"] == 40


@pytest.mark.parametrize("keep_bytes", [30, -4])
def test_a_torn_gzip_is_refused_because_half_a_day_must_not_pass_for_a_quiet_one(source, keep_bytes: int) -> None:
    content = gzip.compress(HEADER + ROW * 100)
    source.write_bytes(content[:keep_bytes])
    with pytest.raises(DataError, match=r"2026-01-05.csv: the gzip stream is torn"):
        source.ingest()


def test_windows_line_ends_a_byte_order_mark_and_quoted_newlines_are_read(source) -> None:
    source.write_bytes(
        b"\xef\xbb\xbf" + (HEADER + ROW).replace(b"\n", b"\r\n").replace(b"lamp", b'"la\r\nmp"'), gzipped=True
    )
    day = source.ingest()
    assert day.counts["clean"] == 1
    assert day.rows("events")[0]["item_id"] == "la\r\nmp"


def test_a_truncated_last_line_is_quarantined_and_the_rest_kept(source) -> None:
    source.write_bytes(HEADER + ROW + b"2026-01-05T10:00:09Z,anna,v1,se")
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (1, {"torn": 1})
    assert json.loads(day.rows("quarantine")[0]["row"]) == {"torn": "4 columns instead of 8"}


def test_bytes_of_another_encoding_spoil_their_row_only_and_a_profile_may_name_the_encoding(
    source, own_profile
) -> None:
    source.write_bytes(HEADER + ROW + ROW.replace(b"lamp", "Tür".encode("latin-1")))
    assert source.ingest().rules == {"torn": 1}
    own_profile('files: "{day}.csv"', 'files: "{day}.csv"\n  encoding: latin-1')
    assert {event["item_id"] for event in source.ingest(run_id="again").rows("events")} == {"lamp", "Tür"}


def test_an_empty_file_is_refused_and_a_file_with_a_header_only_is_an_empty_day(source) -> None:
    source.write_bytes(b"")
    with pytest.raises(DataError, match=r"2026-01-05.csv: the file is empty; a header line with who, visit"):
        source.ingest()
    source.write_bytes(HEADER)
    assert source.ingest().counts["rows"] == 0


def test_a_column_the_file_lacks_is_named_with_the_nearest_one(source) -> None:
    source.write_bytes(HEADER.replace(b"sku", b"skus") + ROW)
    with pytest.raises(DataError, match=r"there is no column sku, which the profile names; did you mean skus"):
        source.ingest()


@pytest.mark.parametrize("line", [HEADER.replace(b"pieces", b'"pieces'), b'"u","i","t","e\n'])
def test_a_header_whose_quote_never_closes_is_one_sentence(source, line: bytes) -> None:
    source.write_bytes(line + ROW)
    with pytest.raises(DataError, match=r"2026-01-05.csv: a quote in its header line never closes; close it or"):
        source.ingest()


def test_a_header_may_hold_a_line_end_within_quotes(source) -> None:
    source.write_bytes(HEADER.replace(b"pieces", b'pieces,"a\nb"') + ROW.replace(b"\n", b",\n"))
    assert source.ingest().counts["clean"] == 1


def test_a_directory_where_a_file_should_be_is_named(source) -> None:
    (source.folder / "2026-01-05.csv").mkdir()
    with pytest.raises(UsageError, match=r"2026-01-05.csv is a directory"):
        source.ingest()


def test_a_missing_source_folder_is_named(source) -> None:
    source.set(source=str(source.folder / "nowhere"))
    with pytest.raises(UsageError, match=r"The source folder .*nowhere does not exist; set ingest.source"):
        source.ingest()
    source.set(source="")
    with pytest.raises(UsageError, match=r"There is no source of logs; set ingest.source"):
        source.ingest(run_id="again")


def test_an_open_day_without_a_file_is_an_error_and_a_closed_one_an_empty_artifact(source) -> None:
    with pytest.raises(MissingInputError, match=r"No logs for 2026-01-05: expected .*/2026-01-05.csv"):
        source.ingest()
    sunday = source.ingest("2026-01-04")
    assert (sunday.counts["closed"], sunday.counts["rows"]) == (True, 0)
    assert [sunday.rows(name) for name in ("events", "routed", "quarantine", "catalogue")] == [[], [], [], []]


def test_json_lines_with_nested_fields_and_mixed_types_are_read(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.jsonl"\n  format: jsonl')
    own_profile("item_id: sku", "item_id: thing.sku")
    whole = {"when": "2026-01-05T10:00:00Z", "who": 17, "visit": None, "what": "seen", "words": None, "pieces": None}
    objects = [whole | {"thing": {"sku": 5}, "cost": 9.5}, whole | {"thing": {"sku": "x"}, "cost": "8.5"}]
    lines = [json.dumps(o).encode() for o in objects] + [b'{"when": "2026', b"[1]"]
    source.write_bytes(b"\n".join(lines), "2026-01-05.jsonl")
    own_profile("column: sku, matches", "column: thing.sku, matches")
    day = source.ingest()
    assert (day.counts["clean"], day.rules) == (2, {"torn": 2})
    assert [(e["item_id"], e["price"]) for e in sorted(day.rows("events"), key=lambda e: e["price"])] == [
        ("x", 8.5),
        ("5", 9.5),
    ]


@pytest.mark.parametrize(("count", "said"), [(99, None), (100, None), (100, "once")])
def test_a_field_that_no_object_of_many_has_is_misspelt(source, own_profile, count: int, said: str | None) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.jsonl"\n  format: jsonl')
    whole = dict(zip(HEADER.decode().strip().split(","), ROW.decode().strip().split(","), strict=True))
    del whole["words"]
    objects = [whole | {"sku": f"lamp{n}"} for n in range(count)]
    if said:
        objects[count // 2]["words"] = None
    source.write_bytes("".join(f"{json.dumps(each)}\n" for each in objects).encode(), "2026-01-05.jsonl")
    if said or count < 100:
        assert source.ingest().counts["rows"] == count
        return
    with pytest.raises(
        DataError, match=r"the profile names words, but none of the 100 objects up to row 100 has it, not"
    ):
        source.ingest()


def test_parquet_is_read_with_its_own_types(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.parquet"\n  format: parquet')
    when = datetime(2026, 1, 5, 10, tzinfo=UTC)
    row = {"when": when, "who": 17, "visit": None, "what": "bought", "sku": 5, "words": None, "cost": 9.5, "pieces": 2}
    pq.write_table(pa.Table.from_pylist([row]), source.folder / "2026-01-05.parquet")
    (event,) = source.ingest().rows("events")
    assert (event["item_id"], event["event_time"], event["price"], event["quantity"]) == ("5", when, 9.5, 2)


@pytest.mark.parametrize(
    ("values", "kind"), [([["lamp"]], "list<"), ([{"id": "lamp"}], "struct<id: string>"), ([b"\xff"], "binary")]
)
def test_a_parquet_column_that_is_no_text_is_named_with_its_type(source, own_profile, values, kind: str) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.parquet"\n  format: parquet')
    row = dict.fromkeys(HEADER.decode().strip().split(","), "x") | {"sku": values[0]}
    pq.write_table(pa.Table.from_pylist([row]), source.folder / "2026-01-05.parquet")
    with pytest.raises(DataError, match=rf"parquet: the column sku is of the type {kind}.* can be read as text; write"):
        source.ingest()


def test_a_file_that_is_no_parquet_is_refused(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day}.csv"\n  format: parquet')
    source.write_bytes(HEADER)
    with pytest.raises(DataError, match=r"2026-01-05.csv: this is not Parquet"):
        source.ingest()


@pytest.mark.parametrize(
    ("form", "zone", "text", "expected"),
    [
        ("iso", "Europe/London", "2026-07-05 10:00:00", datetime(2026, 7, 5, 9, tzinfo=UTC)),
        ("iso", "Europe/London", "2026-07-05T10:00:00+00:00", datetime(2026, 7, 5, 10, tzinfo=UTC)),
        ("iso", "Europe/London", "2026-07-05T10:00:00.25Z", datetime(2026, 7, 5, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("%d/%m/%Y %H:%M", "UTC", "05/07/2026 10:00", datetime(2026, 7, 5, 10, tzinfo=UTC)),
        ("epoch_seconds", "UTC", "1783245600", datetime(2026, 7, 5, 10, tzinfo=UTC)),
        ("epoch_milliseconds", "UTC", "1783245600250", datetime(2026, 7, 5, 10, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_the_profile_writes_them(source, own_profile, form, zone, text, expected) -> None:
    own_profile("  event_type:", f'  time: {{format: "{form}", zone: {zone}}}\n  event_type:')
    source.write(f"{text},anna,v1,seen,lamp,,1.00,", "whenever,anna,v1,seen,lamp,,1.00,", name="2026-07-05.csv")
    day = source.ingest("2026-07-05")
    assert ([event["event_time"] for event in day.rows("events")], day.rules) == ([expected], {"bad_time": 1})


def test_a_file_of_a_month_gives_each_day_its_rows_and_counts_unreadable_ones_once(source, own_profile) -> None:
    own_profile('files: "{day}.csv"', 'files: "{day:%Y-%b}.csv"\n  file_covers: month')
    days = [f"2026-01-0{day}T10:00:00Z,anna,v{day},seen,lamp,,1.00," for day in (1, 5, 6)]
    source.write(*days, "never,anna,v1,seen,lamp,,1.00,", "2026-01-05", name="2026-Jan.csv")
    first, fifth = source.ingest("2026-01-01"), source.ingest("2026-01-05")
    assert (first.counts["rows"], first.rules) == (3, {"bad_time": 1, "torn": 1})
    assert (fifth.counts["rows"], fifth.counts["clean"], fifth.rules) == (1, 1, {})
