"""Equal inputs give equal bytes, however the machine is set and whatever order rows lie in."""

from __future__ import annotations

import pyarrow.parquet as parquet
import pytest

from pipeline.core.run import Run
from pipeline.core.settings import Settings, load
from pipeline.prepare import arrays, step
from tests.fixtures.ingested import digests, open_run
from tests.fixtures.windows import load_window

SPLIT = ("prepare.max_test_days=2", "prepare.validation_days=2", "prepare.max_evaluation_queries=30")


@pytest.fixture
def usual(settings: Settings) -> Settings:
    return load([f"store.root={settings.store.root}", *SPLIT])


def prepared(settings: Settings, run: Run) -> dict[str, str]:
    again = open_run(settings, str(run.days), "again", force=True)
    report = step.run(settings, again)
    assert not report.cached and report.counts["targets_with_search"] and report.counts["test_searches"]
    assert report.counts["exposed_items"] and report.counts["items_listed_only"]
    return digests(again.artifact("prepare").path)


@pytest.mark.parametrize("words", [("engine.threads=1",), ("engine.threads=2", "engine.memory_mb=128")])
def test_threads_and_memory_change_no_byte(usual: Settings, words: tuple[str, ...]) -> None:
    run = load_window(usual)
    first = prepared(usual, run)
    assert prepared(load([f"store.root={usual.store.root}", *SPLIT, *words]), run) == first


def test_the_order_of_rows_in_a_file_changes_no_byte(usual: Settings) -> None:
    run = load_window(usual)
    first = prepared(usual, run)
    for artifact in run.artifacts("ingest").values():
        for name in ("events", "catalogue"):
            path = artifact.file(f"{name}.parquet")
            table = parquet.read_table(path)
            parquet.write_table(table.take(list(range(len(table)))[::-1]), path, row_group_size=37)
    assert prepared(usual, run) == first


def test_the_length_of_blocks_changes_no_byte(usual: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_window(usual)
    first = prepared(usual, run)
    monkeypatch.setattr(arrays, "ROWS_A_BLOCK", 53)
    assert prepared(usual, run) == first


def test_nothing_is_left_in_the_artifact_beside_what_the_contract_names(usual: Settings) -> None:
    run = load_window(usual)
    assert set(prepared(usual, run)) == {
        *("items.parquet", "validation.parquet", "test.parquet", "queries.json", "contexts.json", "split.json"),
        *("sequence_items.npy", "sequence_types.npy", "sequence_times.npy", "sequence_contexts.npy"),
        "sequence_offsets.npy",
        *("targets.npy", "target_queries.npy", "target_searched.npy", "exposed_items.npy", "exposed_offsets.npy"),
        *("report.json", "manifest.json"),
    }
