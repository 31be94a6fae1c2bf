"""A planted word is found in every format a night writes."""

from __future__ import annotations

import gzip
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.store import sweep as sweeping
from pipeline.store.sweep import any_of, sweep, words_in

WORD = "planted-person-7"


def _parquet(values: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": range(len(values)), "v": values}), sink, compression="zstd")
    return sink.getvalue()


def _zip(name: str, content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return sink.getvalue()


def _npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


MANY = ["x" * 40] * 5000
HIDDEN = {
    "log.txt": f"he said {WORD}.".encode(),
    "log.csv.gz": gzip.compress(b"filling " * 1000 + WORD.encode()),
    "rows.parquet": _parquet(pa.array([*MANY, f'{{"who": "{WORD}"}}'])),
    "lists.parquet": _parquet(pa.array([["a"], [WORD]])),
    "coded.parquet": _parquet(pa.array([*MANY, WORD]).dictionary_encode()),
    "binary.parquet": _parquet(pa.array([WORD.encode()])),
    "text.npy": _npy(np.array([WORD, "b"])),
    "bytes.npy": _npy(np.array([WORD.encode()])),
    "arrays.npz": _zip("text.npy", _npy(np.array([WORD]))),
    "nested.zip": _zip("inner.parquet", _parquet(pa.array([WORD]))),
    "no-ending": b"\x00\xff" + WORD.encode() + b"\xfe",
    "half.gz": b"\x1f\x8b torn " + WORD.encode(),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_planted_word_is_found_in(name: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_bytes(HIDDEN[name])
    (tmp_path / "clean.txt").write_text("nobody")
    swept = sweep(tmp_path, any_of([WORD, "somebody else"]))
    assert [(found.path.name, found.words) for found in swept.found] == [(name, (WORD,))]
    assert (swept.files, swept.bytes) == (2, len(HIDDEN[name]) + 6)


def test_a_word_is_found_in_a_database_even_where_a_value_is_longer_than_its_page(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE xcom (key TEXT, value JSON)")
        # Longer than a page of 4096 bytes, so that the word is torn over pages somewhere in a row of copies.
        database.execute("INSERT INTO xcom VALUES ('k', ?)", [json.dumps({"said": f"{WORD} " * 2000})])
    assert words_in(path, any_of([WORD])) == {WORD}


def test_a_table_that_may_hold_the_word_is_left_out_and_the_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE erasures (person TEXT)")
        database.execute("CREATE TABLE entries (reason TEXT)")
        database.execute("INSERT INTO erasures VALUES (?)", [WORD])
    assert words_in(path, any_of([WORD]), without_tables=["erasures"]) == set()
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO entries VALUES (?)", [f"because of {WORD}"])
    assert words_in(path, any_of([WORD]), without_tables=["erasures"]) == {WORD}


def test_a_word_over_the_edge_of_two_chunks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "CHUNK_BYTES", 100)
    (tmp_path / "log.txt").write_text("x" * 95 + WORD)
    assert words_in(tmp_path / "log.txt", any_of([WORD])) == {WORD}


def test_a_pattern_may_stand_for_many_words(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("visit7x12 and visit7x13, not visit7")
    assert words_in(tmp_path / "log.txt", re.compile(rb"visit\d+x\d+")) == {"visit7x12", "visit7x13"}


def test_files_to_spare_are_not_opened(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(WORD)
    spare: Callable[[Path], bool] = lambda path: path.name == "a.txt"  # noqa: E731
    assert [found.path.name for found in sweep(tmp_path, any_of([WORD]), spare).found] == ["b.txt"]
