"""Whole commands, as an operator gives them: logs in a bucket, a store two machines share, a server scraped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.artifacts import MANIFEST
from tests.services.conftest import Bucket
from tests.services.faults import Fault, in_front_of

DAYS = "2026-01-05..2026-01-16"
SMALL = ("simulate.events_per_day=400", "simulate.users=120", "simulate.items=80")
FEW = ("prepare.validation_days=2", "prepare.max_test_days=2", "prepare.min_test_queries=10")


def pipeline(*words: str, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    assignments = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "pipeline", *words, *assignments]
    return subprocess.run(command, capture_output=True, text=True)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def sealed(root: Path, stage: str) -> dict[str, str]:
    """Returns the one artifact of a stage under a root: the digest of each file."""
    (folder,) = (root / "store" / stage).iterdir()
    return {name: entry["sha256"] for name, entry in json.loads((folder / MANIFEST).read_text())["files"].items()}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days of logs."""
    folder = tmp_path_factory.mktemp("logs")
    said(pipeline("simulate", "--days", DAYS, "--to", str(folder), settings=SMALL))
    return folder


@pytest.fixture
def shop(bucket: Bucket, postgres_url: str, logs: Path) -> tuple[str, ...]:
    """The logs in a bucket, and the settings of every machine but its root."""
    for path in logs.glob("*.csv.gz"):
        bucket.put(f"logs/{path.name}", path.read_bytes())
    source = (f"ingest.source={bucket.url}/logs", f"store.shared={bucket.url}/shop")
    return (*bucket.assignments, *source, f"store.ledger_url={postgres_url}", "engine.threads=2")


def _on(machine: Path, shop: tuple[str, ...]) -> tuple[str, ...]:
    return (f"store.root={machine}", *shop)


def test_what_one_machine_ingests_and_validates_another_prepares(
    shop: tuple[str, ...], bucket: Bucket, tmp_path: Path
) -> None:
    one, two, three = (_on(tmp_path / name, shop) for name in ("one", "two", "three"))
    night = ("--run", "night", "--days", DAYS)
    said(pipeline("ingest", *night, settings=one))
    assert len(bucket.names("shop/landed/")) == 12
    assert bucket.names("shop/published/") == []
    said(pipeline("validate", *night, settings=one))
    assert len(bucket.names("shop/published/")) == 12
    assert "unchanged since it was made" in said(pipeline("ingest", *night, settings=two))
    said(pipeline("prepare", *night, settings=(*two, *FEW)))
    assert "unchanged since it was made" in said(pipeline("prepare", *night, settings=(*three, *FEW)))
    assert sealed(tmp_path / "two", "prepare") == sealed(tmp_path / "three", "prepare")


def test_a_store_that_stumbles_changes_nothing_of_what_is_made(
    shop: tuple[str, ...], bucket: Bucket, tmp_path: Path
) -> None:
    """The listing meets a 503 and a 500; the events a 500, a lost answer, and bodies cut after 1 and 700 bytes."""
    night = ("ingest", "--run", "2026-01-05")
    alone = (*shop, "store.shared=''", "s3.max_attempts=8")
    said(pipeline(*night, settings=_on(tmp_path / "calm", alone)))
    with in_front_of(bucket.endpoint.url) as faults:
        faults.plan("GET *list-type*", Fault(status=503), Fault(status=500))
        faults.plan(
            "GET */logs/events-*", Fault(status=500), Fault(lose_answer=True), Fault(cut_after=1), Fault(cut_after=700)
        )
        stumbling = (*_on(tmp_path / "stumbling", alone), f"s3.endpoint_url={faults.url}")
        said(pipeline(*night, settings=stumbling))
    assert list(faults.planned.values()) == [[], []]
    assert [asked for _, asked in faults.seen if asked][-2:] == ["bytes=1-", "bytes=701-"]
    calm, stumbled = (sealed(tmp_path / name, "ingest") for name in ("calm", "stumbling"))
    assert calm == stumbled


def test_a_bucket_without_a_days_logs_is_a_missing_day(shop: tuple[str, ...], bucket: Bucket, tmp_path: Path) -> None:
    done = pipeline("ingest", "--run", "2026-02-01", settings=_on(tmp_path / "one", shop))
    assert done.returncode == 66
    assert done.stderr.splitlines()[-1].startswith(
        f"No logs for 2026-02-01: expected {bucket.url}/logs/events-2026-02-01.csv.gz"
    )


def test_a_store_that_is_down_ends_in_one_sentence_and_a_code_that_says_retry(
    shop: tuple[str, ...], tmp_path: Path
) -> None:
    dead = ("s3.endpoint_url=http://127.0.0.1:9", "s3.max_attempts=2")
    done = pipeline("ingest", "--run", "2026-01-05", settings=(*_on(tmp_path / "one", shop), *dead))
    assert done.returncode == 75
    assert "the object store at http://127.0.0.1:9 cannot be reached" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
