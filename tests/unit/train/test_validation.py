"""`train.validation` on three queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import DataError
from pipeline.model.features import Query
from pipeline.train.validation import Validation, VectorRanker

IDS = ["a", "b", "c", "d"]
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
# A recommendation with history a: targets a and b, of which b is new; one whose only target is old; a search for a.
VALIDATION = Validation(
    ids=[1, 2, 3],
    users=["u", "v", "w"],
    kinds=np.array(["recommend", "recommend", "search"]),
    queries=[Query(["a"], ["view"]), Query(["a"], ["view"]), Query(["a"], ["view"], "a")],
    targets=[["a", "b"], ["a"], ["a"]],
    new_targets=[["b"], [], []],
    k=1,
    new_items=True,
)


def ranker() -> VectorRanker:
    return VectorRanker(IDS, VECTORS, lambda queries: np.tile(np.array([[1, 0]], np.float32), (len(queries), 1)))


def test_exact_retrieval_ranks_by_dot_product() -> None:
    assert ranker().rank(VALIDATION.queries[:1], 4, exclude_seen=False) == [["a", "b", "c", "d"]]
    assert ranker().rank(VALIDATION.queries[:1], 9, exclude_seen=True) == [["b", "c", "d"]]


def test_values_follow_the_sense_they_are_asked_in() -> None:
    values = VALIDATION.values(ranker(), ["recall"])
    # All items, k = 1: the answer is a: half of {a, b}, all of {a}, all of {a}.
    assert values["recall", "all_items"].tolist() == [0.5, 1.0, 1.0]
    # New items: the answer is b: all of {b}; the others have no new target.
    assert values["recall", "new_items"].tolist()[0] == 1.0
    assert np.isnan(values["recall", "new_items"][1:]).all()
    # Judged: recommendations on new items, the search on all.
    assert values["recall", "judged"].tolist()[::2] == [1.0, 1.0]
    assert np.isnan(values["recall", "judged"][1])


def test_the_judged_recall_leaves_out_queries_without_a_target_in_its_sense() -> None:
    assert VALIDATION.judged_recall(ranker()) == 1.0


def test_the_table_has_a_row_a_slice_that_is_not_empty() -> None:
    rows = VALIDATION.rows("two_tower", VALIDATION.values(ranker(), ["recall"]))
    found = {row["slice"]: (row["value"], row["n"]) for row in rows}
    assert found["all_items"] == (pytest.approx(2.5 / 3), 3)
    assert found["all_items/recommend"] == (0.75, 2)
    assert found["new_items/recommend"] == (1.0, 1)
    assert found["judged/search"] == (1.0, 1)
    assert "new_items/search" not in found
    assert all(row["low"] <= row["value"] <= row["high"] and row["metric"] == "recall@1" for row in rows)


def test_no_validation_query_is_a_sentence(prepared_shop: Artifact, tmp_path: Path) -> None:
    path = prepared_shop.path / "validation.parquet"
    parquet.write_table(parquet.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match=r"holds no query.*prepare\.validation_days"):
        Validation.load(prepared_shop, 20, "new_items")
