from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import CorruptArtifactError, DataError, MissingInputError, UnavailableError
from pipeline.core.settings import Settings
from pipeline.store import words
from pipeline.store.engine import Engine, open_engine

SCHEMA = pa.schema({"n": pa.int64(), "name": pa.string()})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    with open_engine(settings) as opened:
        yield opened


def rows(*numbers: int) -> list[pa.RecordBatch]:
    return [pa.record_batch([[n], [f"row {n}"]], schema=SCHEMA) for n in numbers]


def test_a_question_is_streamed_and_answered_in_its_order(engine: Engine) -> None:
    table = engine.load("numbers", rows(2, 3, 1), SCHEMA)
    question = table.filter(table.n > 1).order_by(ibis.desc("n"))
    for asked in (question, engine.compiled(question)):
        streamed = [row for batch in engine.ask(asked) for row in batch.to_pylist()]
        assert streamed == engine.answer(asked).to_pylist()
        assert [row["n"] for row in streamed] == [3, 2]


def test_a_table_is_replaced_and_a_shown_question_answered_anew(engine: Engine) -> None:
    table = engine.load("numbers", rows(1, 2), SCHEMA)
    engine.show("twice", table.mutate(twice=table.n * 2))
    engine.load("numbers", rows(5), SCHEMA)
    assert engine.answer(engine.table("twice"))["twice"].to_pylist() == [10]
    engine.keep("kept", engine.table("twice"))
    engine.keep("kept", engine.compiled(engine.table("kept").mutate(again=1)))
    assert engine.answer(engine.table("kept")).num_rows == 1


def test_files_are_one_table_that_says_where_each_row_lay(engine: Engine, tmp_path: Path) -> None:
    # An equals sign in a path is no column.
    paths = [str(tmp_path / f"{name}=1.parquet") for name in "ab"]
    pq.write_table(pa.table({"n": [1]}), paths[0])
    pq.write_table(pa.table({"n": [2], "more": ["x"]}), paths[1])
    found = engine.answer(engine.read(paths, "file").order_by("n")).to_pylist()
    assert found == [{"n": 1, "more": None, "file": paths[0]}, {"n": 2, "more": "x", "file": paths[1]}]


def test_what_a_reader_raises_is_raised(engine: Engine) -> None:
    def torn() -> Iterator[pa.RecordBatch]:
        yield from rows(1)
        raise DataError("the file is torn.")

    with pytest.raises(DataError, match=r"the file is torn\."):
        engine.load("numbers", torn(), SCHEMA)


def test_a_stream_is_drawn_by_the_question_that_is_kept_next(engine: Engine) -> None:
    passing = engine.stream("passing", rows(1, 2), SCHEMA)
    twice = engine.compiled(passing.mutate(n=passing.n * 2))
    engine.keep("kept", twice)
    engine.stream("passing", rows(4), SCHEMA)
    engine.keep("kept", twice)
    assert engine.answer(engine.table("kept"))["n"].to_pylist() == [8]

    def torn() -> Iterator[pa.RecordBatch]:
        yield from rows(1)
        raise DataError("the file is torn")

    engine.stream("passing", torn(), SCHEMA)
    with pytest.raises(DataError, match="the file is torn"):
        engine.keep("kept", twice)


def test_words_count_whole_microseconds(engine: Engine) -> None:
    table = engine.load("numbers", rows(1_767_607_200_000_001), SCHEMA)
    back = table.select(
        micros=words.micros_of(words.moment_of(table.n)), said=words.iso_micros(ibis.literal("1970-01-02"))
    )
    # 2 January 1970 begins after 86,400 seconds.
    assert engine.answer(back).to_pylist() == [{"micros": 1_767_607_200_000_001, "said": 86_400_000_000}]


def test_hashes_are_equal_where_all_values_are(engine: Engine) -> None:
    table = engine.load("numbers", [*rows(1, 1, 2)], SCHEMA)
    hashed = table.mutate(hash=words.hash_of(table.n, table.name)).group_by("hash").agg(rows=lambda t: t.count())
    assert sorted(engine.answer(hashed.select("rows"))["rows"].to_pylist()) == [1, 2]


def _damaged(path: Path, begin: int, end: int) -> None:
    content = bytearray(path.read_bytes())
    content[begin:end] = b"\xff" * len(content[begin:end])
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "kind", "sentence"),
    [
        (Path.unlink, MissingInputError, r"^/.*/day\.parquet: this file is gone; run the step"),
        (lambda path: path.write_bytes(b""), CorruptArtifactError, r"^/.*/day\.parquet: its bytes are damaged"),
        (lambda path: _damaged(path, -4, None), CorruptArtifactError, r"^/.*/day\.parquet: its bytes are damaged"),
        (lambda path: _damaged(path, 1000, 1100), CorruptArtifactError, r"^/.*/day\.parquet: its bytes are damaged"),
        (lambda path: _damaged(path, -40, -8), CorruptArtifactError, "^A Parquet file this step reads: its bytes"),
    ],
)
def test_a_file_that_is_gone_or_damaged_is_no_matter_of_room(
    settings: Settings, tmp_path: Path, harm, kind: type[Exception], sentence: str
) -> None:
    path = tmp_path / "day.parquet"
    pq.write_table(pa.table({"n": range(50_000), "name": [str(n) for n in range(50_000)]}), path)
    with pytest.raises(kind, match=sentence), open_engine(settings) as engine:
        engine.read([str(path)])
        harm(path)
        engine.answer(engine.read([str(path)]))


def test_rows_without_room_are_told_with_what_to_do(settings: Settings) -> None:
    small = settings.model_copy(update={"engine": settings.engine.model_copy(update={"memory_mb": 8})})
    with pytest.raises(UnavailableError, match="memory_mb=8 nor spill"), open_engine(small) as engine:
        engine.answer("SELECT list(i) FROM range(50_000_000) numbers(i)")


def test_a_question_that_is_wrong_is_raised_as_it_is(settings: Settings) -> None:
    with pytest.raises(duckdb.InvalidInputException, match="Could not parse"), open_engine(settings) as engine:
        engine.answer("SELECT strptime('file \"x\"', '%Y')")


def test_a_spark_that_is_not_installed_is_said_in_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    spark = settings.model_copy(update={"engine": settings.engine.model_copy(update={"name": "spark"})})
    with (
        pytest.raises(MissingInputError, match=r"pyspark is not installed; install .*nightshift\[spark\]"),
        open_engine(spark),
    ):
        pass


def test_the_scratch_folder_is_the_settings_own_and_empty_afterwards(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    chosen = settings.model_copy(update={"engine": settings.engine.model_copy(update={"scratch": str(folder)})})
    with open_engine(chosen):
        assert list(folder.iterdir())
    assert not list(folder.iterdir())
