from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.sections import Ingest
from pipeline.core.settings import Settings
from pipeline.store.files import RawFile
from pipeline.store.files import find as find_in


def find(source: Path | str, pattern: str) -> list[RawFile]:
    return find_in(Settings(ingest=Ingest(source=str(source))), pattern)


def test_files_are_found_by_name_or_pattern_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "day/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [file.name for file in find(tmp_path, "*.csv")] == ["a.csv", "b.csv"]
    (found,) = find(tmp_path, "day/c.csv")
    assert found.digest == hashlib.sha256(b"day/c.csv").hexdigest()
    with found.open() as stream:
        assert stream.read() == b"day/c.csv"


def test_a_file_that_is_not_there_is_no_file(tmp_path: Path) -> None:
    assert find(tmp_path, "nothing.csv") == []


def test_a_file_changed_in_place_has_another_digest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("one")
    before = find(tmp_path, "a.csv")[0].digest
    (tmp_path / "a.csv").write_text("three")
    assert find(tmp_path, "a.csv")[0].digest != before


def test_a_source_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("one")
    with pytest.raises(UsageError, match=r"a\.csv is a file; set ingest\.source to the folder"):
        find(tmp_path / "a.csv", "*")


def test_an_address_without_a_bucket_is_named() -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        find("s3://", "*.csv")
