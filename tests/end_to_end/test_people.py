"""After real nights nothing under the root names a person: Airflow's logs and database, MLflow's artifacts included."""

from __future__ import annotations

import csv
import gzip
import re

from pipeline.store.sweep import any_of, sweep
from stack.secrets import load_or_generate
from tests.end_to_end.conftest import Night, Shop

# What the generated shop calls its people: `user17`, `visit20260101x4`.
RAW_ID = re.compile(rb"(?<![A-Za-z0-9])(?:user[0-9]{1,6}|visit[0-9]{8}x[0-9]+)(?![A-Za-z0-9])")


def raw_ids(shop: Shop) -> set[str]:
    found: set[str] = set()
    for path in shop.source.glob("events-*.csv.gz"):
        with gzip.open(path, "rt") as file:
            found.update(value for row in csv.DictReader(file) for value in (row["user"], row["session"]) if value)
    return {name for name in found if RAW_ID.fullmatch(name.encode())}


def test_no_raw_id_lies_anywhere_but_in_the_logs_they_came_in(shop: Shop, second_promotion: Night) -> None:
    known = raw_ids(shop)
    assert len(known) > 1000
    assert sweep(shop.source, RAW_ID).found, "the searcher must find them where they are"
    swept = sweep(shop.root, RAW_ID, spare=lambda path: shop.source in path.parents)
    read = {path.suffix for path in shop.root.rglob("*") if path.is_file() and shop.source not in path.parents}
    assert {".parquet", ".npy", ".log", ".json", ".html", ".gz", ".faiss"} <= read
    named = {str(found.path): sorted(known & set(found.words)) for found in swept.found}
    assert {path: words for path, words in named.items() if words} == {}


def test_the_pseudonym_key_lies_nowhere_but_in_the_file_of_secrets(shop: Shop, second_promotion: Night) -> None:
    key = load_or_generate(shop.stack.places)["PIPELINE_SECRETS__PSEUDONYM_KEY"]
    swept = sweep(shop.root, any_of([key]), spare=lambda path: path == shop.stack.places.secrets)
    assert swept.found == ()
