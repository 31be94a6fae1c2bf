"""DuckDB and a real Spark measure a day alike, so they judge it alike."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.core import settings as settings_module
from pipeline.store.engine import open_engine
from pipeline.validate.measure import Day, Measures, Standpoint, measure
from pipeline.validate.suite import load_suites
from tests.fixtures.ingested import ingest, open_run
from tests.unit.validate.test_faults import a_day, changed, dearer

DAYS = ("2024-03-04", "2024-03-05")


def measures_on(engine: str, root: Path) -> Measures:
    settings = settings_module.load([f"store.root={root}", f"engine.name={engine}", "engine.spark_master=local[2]"])
    run = open_run(settings, f"{DAYS[0]}..{DAYS[1]}", engine)
    spoiled = changed(DAYS[1], 1, price=dearer, user_id=lambda row: None)
    spoiled["events"] += spoiled["events"][:3]
    made = (a_day(DAYS[0], 0), spoiled)
    artifacts = [ingest(run, day, **rows) for day, rows in zip(DAYS, made, strict=True)]
    days = [Day(date.fromisoformat(d), a, a.json("counts.json")) for d, a in zip(DAYS, artifacts, strict=True)]
    seen_from = Standpoint(run.as_of, settings.shop.timezone, 28, 5, 20, 20)
    with open_engine(settings) as opened:
        return measure(opened, days, load_suites(settings), seen_from)


def test_both_engines_measure_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", "7a" * 32)
    duckdb, spark = (measures_on(engine, tmp_path) for engine in ("duckdb", "spark"))
    assert duckdb.rows == spark.rows
    assert duckdb.summaries == spark.summaries
    # Three events come twice: the fault is seen, not only agreed on.
    assert duckdb.rows[date.fromisoformat(DAYS[1])]["events.duplicates(event_id)"] == 3
