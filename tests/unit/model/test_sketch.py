"""Few items as they are searched once loaded: one query by a rough copy first, and the answer is the exact one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.model.item_index import KINDS, ItemIndex
from pipeline.model.sketch import MORE, SKETCH_FROM, Sketch

DIM, ITEMS, K = 16, SKETCH_FROM + 33, 20


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit(np.random.default_rng(3).normal(size=(ITEMS, DIM)))


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit(np.random.default_rng(4).normal(size=(50, DIM)))


def exact(vectors: np.ndarray, query_1D: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = vectors @ query_1D[0]
    rows = np.argsort(-scores, kind="stable")[:k]
    return scores[rows], rows


@pytest.mark.parametrize("k", [1, K, 500])
def test_what_it_answers_is_what_a_look_at_every_vector_gives(vectors: np.ndarray, queries: np.ndarray, k: int) -> None:
    sketch, proven = Sketch(vectors), 0
    for query in queries[:, None]:
        found = sketch.search(query, k)
        if found is not None:
            proven += 1
            scores, rows = exact(vectors, query, k)
            np.testing.assert_array_equal(found[1][0], rows)
            np.testing.assert_allclose(found[0][0], scores, atol=1e-6)
    assert proven > len(queries) / 2


def test_rows_too_alike_to_tell_apart_are_not_answered(vectors: np.ndarray) -> None:
    # So many lie within what half precision mistakes that the best need not be among the candidates.
    alike = vectors.copy()
    alike[: K + MORE + 1] = unit(vectors[:1] + np.random.default_rng(5).normal(scale=1e-5, size=(K + MORE + 1, DIM)))
    assert Sketch(alike).search(alike[:1], K) is None
    assert Sketch(alike).search(alike[-1:], K) is not None


def test_an_index_answers_whether_or_not_it_could_be_proven(tmp_path: Path, vectors: np.ndarray) -> None:
    alike = np.repeat(vectors[:100], ITEMS // 100 + 1, axis=0)[:ITEMS]
    ItemIndex.build(alike, "float32", lists_from=None).save(tmp_path / "index")
    index = ItemIndex.load(tmp_path / "index")
    scores, rows = index.search(alike[:1], K)
    np.testing.assert_allclose(scores[0], 1.0, atol=1e-6)
    assert set(rows[0]) <= set(range(ITEMS // 100 + 1)) and len(set(rows[0])) == K


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_once_loaded_as_it_is_stored(
    tmp_path: Path, vectors: np.ndarray, queries: np.ndarray, kind: str
) -> None:
    built = ItemIndex.build(vectors, kind, lists_from=None)
    built.save(tmp_path / "index")
    loaded = ItemIndex.load(tmp_path / "index")
    stored = built.vectors(np.arange(ITEMS))
    np.testing.assert_array_equal(loaded.vectors(np.arange(ITEMS)), stored)
    assert loaded.bytes == built.bytes == (tmp_path / "index").stat().st_size
    for query in queries[:5, None]:
        np.testing.assert_allclose(loaded.search(query, K)[0][0], exact(stored, query, K)[0], atol=1e-5)
    together = loaded.search(queries[:5], K)[0]
    np.testing.assert_allclose(together, np.stack([exact(stored, q[None], K)[0] for q in queries[:5]]), atol=1e-5)
    only = np.arange(0, ITEMS, 2)
    half = loaded.search(queries[:1], K, only)
    np.testing.assert_allclose(half[0][0], exact(stored[only], queries[:1], K)[0], atol=1e-5)
