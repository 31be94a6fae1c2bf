"""Forgetting in a store that two machines share through a real S3 server."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.core.days import Days
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.ingest import step
from pipeline.ingest.people.asking import pseudonyms_of
from pipeline.ingest.people.forget import Forgetting
from pipeline.store.erasures import Erasures
from pipeline.store.partitions import Partitions
from pipeline.store.shared import open_shared
from pipeline.store.sweep import any_of, sweep
from tests.services.conftest import Bucket
from tests.unit.ingest.conftest import HEADER, PROFILE

DAY = "2026-01-05"
ROWS = ("2026-01-05T10:00:00Z,anna,v1,seen,lamp,,9.50,", "2026-01-05T11:00:00Z,bert,v2,seen,mug,,3.00,")


def machine(bucket: Bucket, folder: Path, name: str) -> Settings:
    more = (
        f"store.shared={bucket.url}/shop",
        f"store.ledger_url=sqlite:///{folder / 'ledger.sqlite'}",
        f"ingest.source={folder / 'logs'}",
        f"ingest.profile={folder / 'profile.yaml'}",
    )
    return bucket.settings(folder / name, *more)


def ingest(settings: Settings, run_id: str) -> Run:
    run = Run.open(settings.store.root, run_id, "UTC", Days.parse(DAY), shared=open_shared(settings))
    step.run(settings, run)
    return run


def objects_that_name(bucket: Bucket, folder: Path, names: tuple[str, ...]) -> list[str]:
    copy = folder / "copy"
    for key in bucket.names():
        (copy / key).parent.mkdir(parents=True, exist_ok=True)
        bucket.client.download_file(bucket.name, key, str(copy / key))
    return [str(found.path.relative_to(copy)) for found in sweep(copy, any_of(names)).found]


@pytest.mark.parametrize("kind", ["bucket", "conditional_bucket"])
def test_a_person_leaves_the_objects_too_whichever_machine_made_them(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bucket: Bucket = request.getfixturevalue(kind)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"{DAY}.csv").write_text("".join(f"{row}\n" for row in (HEADER, *ROWS)))
    (tmp_path / "profile.yaml").write_text(PROFILE)
    maker, forgetter = machine(bucket, tmp_path, "maker"), machine(bucket, tmp_path, "forgetter")
    ingest(maker, "night")
    names = pseudonyms_of("anna", forgetter)
    assert objects_that_name(bucket, tmp_path / "before", names)
    said = Forgetting(forgetter, names).run("ann", "asked")
    assert objects_that_name(bucket, tmp_path / "after", names) == []
    landed = Partitions.open(forgetter, "landed")
    record = landed.read(date.fromisoformat(DAY))
    assert record is not None
    assert (record.revision, record.run_id) == (2, "forget-1")
    (left,) = pq.read_table(landed.artifact(record).file("events.parquet")).to_pylist()
    assert left["item_id"] == "mug"
    assert re.search(r"1 artifact of 1 day", said)
    # The machine that made it keeps its own copy until it is asked as well.
    assert sweep(maker.store.root, any_of(names)).found
    Forgetting(maker, names).run("ann", "asked")
    assert sweep(maker.store.root, any_of(names)).found == ()
    assert {erasure.state for erasure in Erasures.open(maker).all()} == {"done"}
