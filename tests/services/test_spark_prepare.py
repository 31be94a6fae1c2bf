"""The training set is the same, byte for byte, whichever engine joined and sorted for it."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.run import Run
from pipeline.core.settings import Settings, load
from pipeline.prepare import step
from tests.fixtures.ingested import digests, open_run
from tests.fixtures.windows import load_window

SPLIT = {"max_test_days": 2, "validation_days": 2, "max_evaluation_queries": 30}


def prepared(settings: Settings, last_days: tuple[str, ...]) -> list[Run]:
    """Returns a run for each last day, each growing from the vocabulary of the one before."""
    settings = settings.model_copy(update={"prepare": settings.prepare.model_copy(update=SPLIT)})
    load_window(settings)
    runs = [open_run(settings, day, f"night-{day}") for day in last_days]
    for run in runs:
        assert not step.run(settings, run).cached
    return runs


def test_duckdb_and_spark_make_the_same_artifact(spark_settings: Settings, tmp_path: Path) -> None:
    assert spark_settings.engine.name == "spark"
    nights = ("2024-03-06", "2024-03-08")
    by_engine = [prepared(s, nights) for s in (load([f"store.root={tmp_path / 'duckdb'}"]), spark_settings)]
    for duckdb, spark in zip(*by_engine, strict=True):
        assert digests(spark.artifact("prepare").path) == digests(duckdb.artifact("prepare").path)
        assert spark.artifact("prepare").digest == duckdb.artifact("prepare").digest
    counts = by_engine[0][1].artifact("prepare").json("split.json")["counts"]
    assert all(counts[name] for name in ("items_kept", "items_listed_only", "targets_with_search", "test_searches"))
