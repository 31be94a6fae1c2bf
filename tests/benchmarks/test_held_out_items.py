from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from benchmarks.held_out_items import drawn_items, prepare_without
from pipeline.core.artifacts import Artifact, build
from pipeline.core.days import Days
from pipeline.core.run import Run

# Three people: one met 1 2 3, one only 2, one 3 2 1; the targets are every event but each person's first.
ITEMS, OFFSETS = [1, 2, 3, 2, 3, 2, 1], [0, 3, 4, 7]
TARGETS, QUERIES = [1, 2, 5, 6], [-1, 0, 1, -1]
SEARCHED = [-1, 1, 4, -1]
CONTEXTS = [0, 1, 2, 3, 4, 5, 6]
# Before the second target 2 and 1 were shown, before the third 3, before the last 2.
EXPOSED, EXPOSED_OFFSETS = [2, 1, 3, 2], [0, 0, 2, 3, 4]


def _prepared(run: Run) -> Artifact:
    def fill(folder: Path) -> None:
        arrays = {
            "sequence_items": np.array(ITEMS, np.int32),
            "sequence_types": np.zeros(7, np.uint8),
            "sequence_times": np.arange(7),
            "sequence_contexts": np.array(CONTEXTS, np.int32),
            "sequence_offsets": np.array(OFFSETS),
            "targets": np.array(TARGETS),
            "target_queries": np.array(QUERIES, np.int32),
            "target_searched": np.array(SEARCHED),
            "exposed_items": np.array(EXPOSED, np.int32),
            "exposed_offsets": np.array(EXPOSED_OFFSETS),
        }
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        events, shares = pa.array([2, 3, 2]), pa.array([0.25, 0.5, 0.25])
        items = {"index": [1, 2, 3], "item_id": ["a", "b", "c"], "age_days": [5, 6, 7]}
        parquet.write_table(pa.table({**items, "events": events, "probability": shares}), folder / "items.parquet")

    return build(run.layout.artifact("prepare", "whole"), fill)


def test_items_held_out_leave_every_sequence_and_target_and_stay_in_the_catalogue(tmp_path) -> None:
    run = Run.open(tmp_path, "cold", "UTC", Days.parse("2026-01-01"))
    made = prepare_without(_prepared(run), np.array([2]), run)
    # Without item 2: 1 3 | nothing | 3 1. The targets that stand are the first person's 3 and the last one's 1.
    read = {name: np.load(made.file(f"{name}.npy")).tolist() for name in ("sequence_items", "sequence_offsets")}
    assert read == {"sequence_items": [1, 3, 3, 1], "sequence_offsets": [0, 2, 4]}
    assert np.load(made.file("sequence_times.npy")).tolist() == [0, 2, 4, 6]
    assert np.load(made.file("sequence_contexts.npy")).tolist() == [0, 2, 4, 6]
    assert np.load(made.file("targets.npy")).tolist() == [1, 3]
    assert np.load(made.file("target_queries.npy")).tolist() == [0, -1]
    assert np.load(made.file("target_searched.npy")).tolist() == [1, -1]
    # Of what was shown before those two, item 1 is left.
    assert np.load(made.file("exposed_items.npy")).tolist() == [1]
    assert np.load(made.file("exposed_offsets.npy")).tolist() == [0, 1, 1]
    items = parquet.read_table(made.file("items.parquet")).to_pydict()
    assert items["item_id"] == ["a", "b", "c"]
    assert (items["events"], items["probability"]) == ([2, 0, 2], [0.5, 0.0, 0.5])
    # Who was never met is as young as can be.
    assert items["age_days"] == [5, 0, 7]
    assert run.artifact("prepare").key == made.key


def test_a_share_of_the_items_is_drawn_the_same_each_time(tmp_path) -> None:
    prepared = _prepared(Run.open(tmp_path, "cold", "UTC", Days.parse("2026-01-01")))
    drawn = drawn_items(prepared, 2 / 3)
    assert len(drawn) == 2
    assert set(drawn) <= {1, 2, 3}
    assert drawn_items(prepared, 2 / 3).tolist() == drawn.tolist()
