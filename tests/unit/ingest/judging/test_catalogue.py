from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UsageError

SEEN = "2026-01-05T10:00:00Z,anna,v1,seen,lamp,,1.00,"
DATED = """catalogue:
  files: "{files}"
  file_covers: {covers}
  delimiter: ";"
  encoding: latin-1
  columns: {{item_id: sku, title: name, price: cost, valid_from: since}}
  time: {{format: "%d.%m.%Y %H:%M", zone: Europe/Paris}}
calendar:"""
ROWS = """sku;name;cost;since
lamp;old lamp;1.00;01.01.2026 00:00
lamp;lampe à pied;2.00;03.01.2026 12:00
lamp;;3.00;05.01.2026 12:00
lamp;tomorrow's;4.00;06.01.2026 01:00
mug;mug;5.00;01.01.2026 00:00
jug;jug;6.00;05.01.2026 00:59
cup;cup;7.00;whenever
"""


@pytest.fixture
def dated(source, own_profile):
    """Returns what writes the catalogue for files of a day or of all days."""

    def write(covers: str):
        files = "goods-{day}.csv" if covers == "day" else "goods.csv"
        own_profile("calendar:", DATED.format(files=files, covers=covers))
        source.write(SEEN)
        source.write_bytes(ROWS.encode("latin-1"), files.format(day="2026-01-05"))
        return source

    return write


def found(source) -> list[tuple]:
    rows = source.ingest().rows("catalogue")
    return [(row["item_id"], row["valid_from"].strftime("%m-%d %H:%M"), row["title"], row["price"]) for row in rows]


def test_rows_that_say_since_when_hold_until_the_next_row_of_the_item(dated) -> None:
    # Midnight of the shop is 01:00 in Paris. A row is a whole description: the one of 5 January has no title.
    assert found(dated("day")) == [
        ("jug", "01-04 23:59", "jug", 6.0),
        ("lamp", "01-03 11:00", "lampe à pied", 2.0),
        ("lamp", "01-05 11:00", None, 3.0),
        ("mug", "12-31 23:00", "mug", 5.0),
    ]


def test_rows_of_catalogue_files_that_describe_nothing_are_counted(dated) -> None:
    source = dated("day")
    more = "torn;row\n;nobody's;8.00;01.01.2026 00:00\n;timeless too;8.00;\n"
    source.write_bytes((ROWS + more).encode("latin-1"), "goods-2026-01-05.csv")
    # Of ten rows one is torn, two name no item, and that of the cup holds from no readable time.
    counted = {"read": 10, "torn": 1, "other_property": 0, "no_item": 2, "bad_time": 1, "bad_vector": 0}
    assert source.ingest().counts["catalogue_rows"] == counted


def test_where_no_files_describe_items_no_rows_of_theirs_are_counted(source) -> None:
    source.write(SEEN)
    assert source.ingest().counts["catalogue_rows"] == {}


def test_of_a_catalogue_of_all_days_a_day_keeps_the_items_met_or_changed(dated) -> None:
    # mug and jug were described before the day and met by nobody on it.
    assert [row[:2] for row in found(dated("all"))] == [("lamp", "01-03 11:00"), ("lamp", "01-05 11:00")]


def test_a_catalogue_of_all_days_without_times_describes_the_items_met(source, own_profile) -> None:
    own_profile(
        "calendar:",
        "catalogue:\n  files: goods.csv\n  file_covers: all\n  columns: {item_id: sku, title: name}\ncalendar:",
    )
    source.write(SEEN)
    source.write("lamp,old", "lamp,new", "mug,mug", name="goods.csv", header="sku,name")
    assert found(source) == [("lamp", "01-05 00:00", "new", None)]


def test_items_may_be_described_in_json_lines(source, own_profile) -> None:
    own_profile(
        "calendar:",
        'catalogue:\n  files: "goods-{day}.jsonl"\n  file_format: jsonl\n'
        "  columns: {item_id: sku, title: texts.name, in_stock: stock.here}\ncalendar:",
    )
    source.write(SEEN)
    source.write_bytes(
        b'{"sku": "lamp", "texts": {"name": "Lamp"}, "stock": {"here": true}}\n', "goods-2026-01-05.jsonl"
    )
    (lamp,) = source.ingest().rows("catalogue")
    assert (lamp["title"], lamp["in_stock"]) == ("Lamp", True)


VECTORS = """catalogue:
  files: "goods-{{day}}.{format}"
  file_format: {format}
  delimiter: ";"
  columns: {{item_id: sku, vector: image}}
calendar:"""


def vectors(source) -> dict[str, list[float] | None]:
    return {row["item_id"]: row["vector"] for row in source.ingest().rows("catalogue")}


def test_a_vector_is_written_as_numbers_in_brackets_or_not(source, own_profile) -> None:
    own_profile("calendar:", VECTORS.format(format="csv"))
    source.write(SEEN)
    lines = ("lamp;[0.5, -1e-3,2]", "mug; 1 2\t3 ", "jug;4", "cup;")
    source.write(*lines, name="goods-2026-01-05.csv", header="sku;image")
    assert vectors(source) == {"lamp": [0.5, -0.001, 2.0], "mug": [1.0, 2.0, 3.0], "jug": [4.0], "cup": None}


def test_a_row_whose_vector_is_not_all_numbers_describes_nothing_and_is_counted(source, own_profile) -> None:
    own_profile("calendar:", VECTORS.format(format="csv"))
    source.write(SEEN)
    lines = ("lamp;1 2", "mug;1 nan", "jug;1 inf", "cup;one two", "pot;[]")
    source.write(*lines, name="goods-2026-01-05.csv", header="sku;image")
    assert vectors(source) == {"lamp": [1.0, 2.0]}
    assert source.ingest().counts["catalogue_rows"]["bad_vector"] == 4


@pytest.mark.parametrize(
    ("kind", "mug"),
    [(pa.list_(pa.float32()), None), (pa.large_list(pa.float64()), [0.5]), (pa.list_(pa.int64(), 2), [3, 4])],
)
def test_a_vector_may_be_a_list_of_a_parquet_file(source, own_profile, kind: pa.DataType, mug: list | None) -> None:
    own_profile("calendar:", VECTORS.format(format="parquet"))
    source.write(SEEN)
    table = pa.table({"sku": ["lamp", "mug"], "image": pa.array([[1, 2], mug], kind)})
    pq.write_table(table, source.folder / "goods-2026-01-05.parquet")
    assert vectors(source) == {"lamp": [1.0, 2.0], "mug": mug}


def test_a_vector_may_be_a_list_of_json_lines(source, own_profile) -> None:
    own_profile("calendar:", VECTORS.format(format="jsonl"))
    source.write(SEEN)
    source.write_bytes(b'{"sku": "lamp", "image": [0.5, 2]}\n{"sku": "mug"}\n', "goods-2026-01-05.jsonl")
    assert vectors(source) == {"lamp": [0.5, 2.0], "mug": None}


def test_vectors_need_catalogue_files(source, own_profile) -> None:
    own_profile("calendar:", "catalogue:\n  columns: {vector: image}\ncalendar:")
    source.write(SEEN)
    with pytest.raises(UsageError, match=r"columns\.vector need files"):
        source.ingest()
