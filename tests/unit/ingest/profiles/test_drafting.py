from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.days import Days
from pipeline.core.errors import DataError
from pipeline.core.sections import Simulate
from pipeline.ingest.profiles.drafting import draft
from pipeline.ingest.profiles.profile import Profile, load_profile
from pipeline.simulate.generate import simulate


@pytest.fixture
def drafted(source, tmp_path: Path):
    """Returns the profile drafted from a file of these bytes."""

    def make(name: str, content: bytes) -> Profile:
        path = source.write_bytes(content, name)
        (tmp_path / "draft.yaml").write_text(draft(str(path), source.settings))
        return load_profile(str(tmp_path / "draft.yaml"))

    return make


def test_what_is_drafted_from_the_generated_shop_is_the_shipped_profile_but_for_its_catalogue(source, drafted) -> None:
    simulate(Simulate(events_per_day=3000, users=100, items=100, dirt_share=0), Days.parse("2026-01-05"), source.folder)
    profile = drafted("events-2026-01-05.csv.gz", (source.folder / "events-2026-01-05.csv.gz").read_bytes())
    shipped = load_profile("generated")
    assert profile.events.columns == shipped.events.columns
    assert profile.events.files == shipped.events.files
    assert profile.events.event_type.values.items() <= shipped.events.event_type.values.items()


def test_delimiter_encoding_time_and_numbers_are_told_from_the_first_rows(drafted) -> None:
    text = (
        "zeit;kunde;besuch;aktion;artikel;preis;Kategorie;e-mail;Beschreibung\n"
        "15.01.2026 10:00;17850.0;b1;ansicht;A1;1.234,50;Möbel > Lampen;x@example.org;NULL\n"
    )
    events = (profile := drafted("klicks_20260115.csv", text.encode("cp1252"))).events
    assert (events.delimiter, events.encoding, events.files) == (";", "cp1252", "klicks_{day:%Y%m%d}.csv")
    assert events.time.format == "%d.%m.%Y %H:%M"
    assert events.columns.user_id.replace == {r"\.0$": ""}
    assert events.columns.price.replace == {r"\.": "", ",": "."}
    assert (events.null_words, events.person_columns) == (("NULL",), ("e-mail",))
    assert events.event_type.values == {"ansicht": "view"}
    assert profile.catalogue.columns.category.separator == ">"


def test_json_lines_are_told_and_looked_into(drafted) -> None:
    line = b'{"user": {"id": "7", "email": "x"}, "ts": 1767607200000, "event": "click", "item": {"sku": "A"}}\n'
    events = drafted("2026-Jan.jsonl", line).events
    assert (events.format, events.file_covers, events.files) == ("jsonl", "month", "{day:%Y-%b}.jsonl")
    assert (events.columns.item_id.column, events.columns.event_time.column) == ("item.sku", "ts")
    assert (events.time.format, events.event_type.values) == ("epoch_milliseconds", {"click": "view"})
    assert events.person_columns == ("user.email",)


def test_what_cannot_be_guessed_is_left_to_the_reader(source) -> None:
    path = source.write("1,2", name="log.csv", header="x,y")
    text = draft(str(path), source.settings)
    assert "item_id: COLUMN_OF_ITEM_ID  # guessed: nothing; the file has x, y" in text
    assert "file_covers: all  # guessed: the name holds no date" in text


def test_a_column_with_an_unknown_name_is_taken_for_the_time_by_its_values(source) -> None:
    path = source.write("7,05.01.2026 10:00", name="log.csv", header="x,wann")
    assert "event_time: wann  # guessed: by its values" in draft(str(path), source.settings)


def test_nothing_is_drafted_from_an_empty_file(source) -> None:
    with pytest.raises(DataError, match="the file is empty; nothing can be drafted from it"):
        draft(str(source.write_bytes(b"", "log.csv")), source.settings)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"x" * (1 << 19), r"log: no line ends within its first [0-9,]+ bytes; deliver CSV or JSON in lines"),
        (b'[{"sku": 1}, ' + b'{"sku": 2},' * 30_000 + b"\n]", "log: this begins as one JSON array"),
        ("sku,who\n1,2\n".encode("utf-16"), r"log: the file is written in UTF-16; deliver it in UTF-8"),
        (b"sku,who\r1,2\r", "log: its lines end in carriage returns; deliver it with line feeds"),
        (b'sku,"who\n' + b"1,2\n" * 50_000, "log: a quote in its header line never closes"),
        (b"PAR1 and no more", "log: this is not Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(source, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        draft(str(source.write_bytes(content, "log")), source.settings)


def test_rows_that_ingest_calls_torn_do_not_stop_a_draft(drafted) -> None:
    rows = b'7,"open\n' + b"8,a\rb\n" + b"9,2026-01-05 10:00:00\n" * 20_000
    assert drafted("log.csv", b"\n\r\nsku,wann,who\n" + rows.replace(b"00\n", b"00,anna\n")).events.time.format == "iso"


def test_parquet_without_rows_is_drafted_by_its_names(source, drafted) -> None:
    pq.write_table(pa.table({"sku": pa.array([], pa.int64()), "user": [], "ts": []}), path := source.folder / "made")
    events = drafted("log.parquet", path.read_bytes()).events
    assert (events.format, events.columns.item_id.column, events.columns.user_id.column) == ("parquet", "sku", "user")


@pytest.mark.parametrize(
    "name", ["@timestamp", "Time #", "time: utc", "date\n(UTC)", "*at", "790", "yes", "{ts}", "a, b"]
)
def test_a_column_may_have_any_name(drafted, name: str) -> None:
    quoted = f'"{name}"'.encode()
    columns = drafted("log.csv", quoted + b",sku,user\n2026-01-05 10:00:00,1,a\n").events.columns
    assert (columns.event_time.column, columns.item_id.column) == (name, "sku")


def test_a_file_and_the_columns_to_choose_from_may_have_any_name(source) -> None:
    path = source.write("1,2", name="log: # 1.csv", header='"x\ny",z')
    text = draft(str(path), source.settings)
    assert 'about: "Drafted from log: # 1.csv; every guess' in text
    assert "nothing; the file has x y, z\n" in text
