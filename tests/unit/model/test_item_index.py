"""The item index: exact, and as exact under a filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.item_index import KINDS, ItemIndex


def test_the_greatest_inner_products_come_first() -> None:
    # Products of (1, 2) with the rows: 1, 2, 3, -3.
    vectors = np.array([[1, 0], [0, 1], [1, 1], [-1, -1]], np.float32)
    scores, rows = ItemIndex.build(vectors, "float32").search(np.array([[1, 2]], np.float32), 3)
    assert rows.tolist() == [[2, 1, 0]]
    assert scores.tolist() == [[3.0, 2.0, 1.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_keeps_k_answers_and_answers_nothing_else(kind: str) -> None:
    draw = np.random.default_rng(0)
    vectors, query = draw.normal(size=(500, 16)).astype(np.float32), draw.normal(size=(1, 16)).astype(np.float32)
    only = np.arange(3, 500, 7)
    _, rows = ItemIndex.build(vectors, kind).search(query, 20, only)
    best = only[np.argsort(-(vectors[only] @ query[0]))][:20]
    assert len(rows[0]) == 20 and set(rows[0]) <= set(only)
    assert rows[0].tolist() == best.tolist() if kind == "float32" else len(set(rows[0]) & set(best)) >= 18


def test_fewer_items_than_asked_for_are_all_answered() -> None:
    index = ItemIndex.build(np.eye(4, dtype=np.float32), "float32")
    query = np.array([[4, 3, 2, 1]], np.float32)
    assert index.search(query, 10)[1].tolist() == [[0, 1, 2, 3]]
    assert index.search(query, 10, np.array([3, 1]))[1].tolist() == [[1, 3]]
    assert index.search(query, 10, np.zeros(0, np.int64))[1].shape == (1, 0)


def test_a_byte_a_number_is_a_quarter_of_the_size_and_keeps_its_vectors(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(2000, 32)).astype(np.float32)
    built = {kind: ItemIndex.build(vectors, kind) for kind in KINDS}
    for kind, index in built.items():
        index.save(tmp_path / kind)
    sizes = {kind: (tmp_path / kind).stat().st_size for kind in KINDS}
    assert sizes["float32"] / sizes["int8"] > 3.9
    # A step of the grid is (max - min) / 255, about 7.5 / 255 = 0.03 for normal numbers; rounding errs by half of it.
    assert np.abs(built["int8"].vectors(np.array([7]))[0] - vectors[7]).max() < 0.03


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(50, 8)).astype(np.float32)
    index = ItemIndex.build(vectors, "int8")
    index.save(tmp_path / "index")
    loaded = ItemIndex.load(tmp_path / "index")
    assert (len(loaded), loaded.dim) == (50, 8)
    assert loaded.search(vectors[:5], 5)[1].tolist() == index.search(vectors[:5], 5)[1].tolist()


def test_a_query_of_another_length_and_a_torn_file_are_refused_in_a_sentence(tmp_path: Path) -> None:
    index = ItemIndex.build(np.eye(4, dtype=np.float32), "float32")
    with pytest.raises(ShapeError, match="length 3 do not fit an index of length 4"):
        index.search(np.zeros((1, 3), np.float32), 1)
    (tmp_path / "index").write_bytes(b"not an index")
    with pytest.raises(CorruptArtifactError, match="is not an item index"):
        ItemIndex.load(tmp_path / "index")
