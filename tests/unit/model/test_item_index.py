"""The item index: its answers, filters and files, whether it looks at every vector or at some lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.item_index import KINDS, ItemIndex

DIM = 16
EVERY, IN_LISTS = None, 1
"""`lists_from`: no lists; lists."""
STRUCTURES = pytest.mark.parametrize("lists_from", [EVERY, IN_LISTS], ids=["every", "lists"])


def _clustered(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """Unit vectors around as many centres as twenty go into."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(max(1, count // 20), dim))
    vectors = centres[draw.integers(0, len(centres), count)] + 0.5 * draw.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _best(index: ItemIndex, queries_QD: np.ndarray, k: int, only: np.ndarray) -> np.ndarray:
    """The k greatest inner products with the vectors as stored, by numpy."""
    return -np.sort(-(queries_QD @ index.vectors(only).T), axis=1)[:, :k]


def test_the_greatest_inner_products_come_first() -> None:
    # Products of (1, 2) with the rows: 1, 2, 3, -3.
    vectors = np.array([[1, 0], [0, 1], [1, 1], [-1, -1]], np.float32)
    scores, rows = ItemIndex.build(vectors, "float32").search(np.array([[1, 2]], np.float32), 3)
    assert rows.tolist() == [[2, 1, 0]]
    assert scores.tolist() == [[3.0, 2.0, 1.0]]


@STRUCTURES
@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_keeps_k_answers_the_best_of_those_allowed(kind: str, lists_from: int | None) -> None:
    vectors, queries = _clustered(600), _clustered(3, seed=1)
    index = ItemIndex.build(vectors, kind, lists_from=lists_from)
    only = np.arange(3, 600, 7)
    scores, rows = index.search(queries, 20, only)
    assert rows.shape == (3, 20) and set(rows.ravel()) <= set(only)
    np.testing.assert_allclose(scores, _best(index, queries, 20, only), atol=1e-5)
    at_rows = np.einsum("qd,qkd->qk", queries, index.vectors(rows.ravel()).reshape(3, 20, DIM))
    np.testing.assert_allclose(scores, at_rows, atol=1e-5)


@STRUCTURES
def test_fewer_items_than_asked_for_are_all_answered(lists_from: int | None) -> None:
    index = ItemIndex.build(np.eye(4, dtype=np.float32), "float32", lists_from=lists_from)
    query = np.array([[4, 3, 2, 1]], np.float32)
    assert index.search(query, 10)[1].tolist() == [[0, 1, 2, 3]]
    assert index.search(query, 10, np.array([1, 3]))[1].tolist() == [[1, 3]]
    assert index.search(query, 10, np.zeros(0, np.int64))[1].shape == (1, 0)


def test_lists_that_hold_fewer_than_k_are_not_the_end() -> None:
    vectors = _clustered(600)
    index = ItemIndex.build(vectors, "float32", lists_from=IN_LISTS, recall=0.01)
    assert index.facts.nprobe == 1
    scores, rows = index.search(vectors[:2], 500)
    np.testing.assert_allclose(scores, _best(index, vectors[:2], 500, np.arange(600)), atol=1e-6)
    assert len(np.unique(rows[0])) == 500


def _found(index: ItemIndex, queries: np.ndarray, k: int, only: np.ndarray | None) -> float:
    """The share of the k best of those allowed that a search finds; a wrong one counts for nothing."""
    allowed = np.arange(len(index)) if only is None else only
    best = allowed[np.argsort(-(queries @ index.vectors(allowed).T), axis=1)[:, :k]]
    rows = index.search(queries, k, only)[1]
    return float(np.mean([len(set(b) & set(r)) / k for b, r in zip(best, rows, strict=True)]))


@pytest.fixture(scope="module")
def listed() -> tuple[ItemIndex, np.ndarray, np.ndarray]:
    """An index of 8,000 vectors in lists, of which those settled on find .9 of the best 100; vectors and queries."""
    vectors, queries = _clustered(8000), _clustered(50, seed=1)
    return ItemIndex.build(vectors, "float32", queries, lists_from=IN_LISTS, recall=0.9), vectors, queries


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("what", ["scattered", "one region"])
def test_under_a_filter_about_as_much_is_found_as_without(listed, what: str, share: float) -> None:
    index, vectors, queries = listed
    draw, count = np.random.default_rng(2), int(share * 8000)
    # A region is what a category is to a trained model: what lies nearest to one direction, most of it far from others.
    nearest = np.argsort(-(vectors @ vectors[0]))[:count]
    only = np.sort(nearest if what == "one region" else draw.choice(8000, count, replace=False))
    assert _found(index, queries, 50, only) > 0.88


def test_few_allowed_are_all_looked_at(listed) -> None:
    index, vectors, queries = listed
    for only in (np.arange(0, 8000, 8), np.array([17, 4000]), np.argsort(vectors @ queries[0])[:500]):
        assert _found(index, queries, min(50, len(only)), np.sort(only)) == 1


def test_more_answers_are_looked_for_in_more_lists(listed) -> None:
    index, _, queries = listed
    assert _found(index, queries, 100, None) == pytest.approx(0.9, abs=0.02)
    assert _found(index, queries, 400, None) > 0.88 and _found(index, queries, 400, np.arange(0, 8000, 2)) > 0.88


def test_a_filter_that_changed_is_another_filter(listed) -> None:
    index, _, queries = listed
    even, odd = np.arange(0, 8000, 2), np.arange(1, 8000, 2)
    for only, rest in ((even, 0), (odd, 1), (even, 0)):
        assert set(index.search(queries, 20, only)[1].ravel() % 2) == {rest}


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.99])
def test_the_least_lists_that_find_what_is_asked_for_are_looked_at(recall: float) -> None:
    vectors, queries = _clustered(2000), _clustered(40, seed=1)
    index = ItemIndex.build(vectors, "int8", queries, lists_from=IN_LISTS, recall=recall)
    facts, every = index.facts, ItemIndex.build(vectors, "int8", queries, lists_from=EVERY)
    whole, found = every.search(queries, 100)[1], index.search(queries, 100)[1]
    shared = np.mean([len(set(w) & set(f)) / 100 for w, f in zip(whole, found, strict=True)])
    # 8 lists for each square root of 2,000.
    assert facts.lists == 358 and facts.k == 100
    assert facts.recall_of_lists >= recall and shared == pytest.approx(facts.recall_of_lists)
    index.look_at(facts.nprobe - 1)
    fewer = index.search(queries, 100)[1]
    assert np.mean([len(set(w) & set(f)) / 100 for w, f in zip(whole, fewer, strict=True)]) < recall


def test_recall_against_exact_is_told_of_the_probes_given() -> None:
    vectors, queries = _clustered(500), _clustered(30, seed=1)
    assert ItemIndex.build(vectors, "float32", queries).facts.recall_against_exact == 1
    told = ItemIndex.build(vectors, "nested_quarter_int8", queries).facts.recall_against_exact
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :100]
    found = ItemIndex.build(vectors, "nested_quarter_int8").search(queries, 100)[1]
    assert told == pytest.approx(np.mean([len(set(e) & set(f)) / 100 for e, f in zip(exact, found, strict=True)]))
    assert ItemIndex.build(vectors, "float32").facts.recall_against_exact is None


@STRUCTURES
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_is_what_is_loaded_and_equal_input_gives_equal_bytes(
    kind: str, lists_from: int | None, tmp_path: Path
) -> None:
    vectors, only = _clustered(600), np.arange(0, 600, 3)
    built = [ItemIndex.build(vectors, kind, vectors[:9], lists_from=lists_from) for _ in range(2)]
    for index, name in zip(built, "ab", strict=True):
        index.save(tmp_path / name)
    loaded = ItemIndex.load(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (len(loaded), loaded.dim) == (600, DIM)
    assert (loaded.vectors(only) == built[0].vectors(only)).all()
    for allowed in (None, only):
        assert (loaded.search(vectors[:5], 5, allowed)[1] == built[0].search(vectors[:5], 5, allowed)[1]).all()
    assert built[0].facts.bytes == (tmp_path / "a").stat().st_size


def test_bytes_that_no_vector_adds_are_told_apart() -> None:
    few, more = (ItemIndex.build(_clustered(count), "pq4").facts for count in (300, 700))
    # 16 numbers in 4 codes of a byte; 4 codebooks of 256 centroids of 4 float32.
    assert few.fixed_bytes == more.fixed_bytes == pytest.approx(4 * 256 * 4 * 4, abs=200)
    assert more.bytes - few.bytes == 400 * 4


@STRUCTURES
@pytest.mark.parametrize("keep", [10, 2000, -64])
def test_a_query_of_another_length_and_a_torn_file_are_refused_in_a_sentence(
    lists_from: int | None, keep: int, tmp_path: Path
) -> None:
    index = ItemIndex.build(_clustered(300), "int8", lists_from=lists_from)
    with pytest.raises(ShapeError, match="length 3 do not fit an index of length 16"):
        index.search(np.zeros((1, 3), np.float32), 1)
    index.save(tmp_path / "index")
    (tmp_path / "index").write_bytes((tmp_path / "index").read_bytes()[:keep])
    with pytest.raises(CorruptArtifactError, match="is not an item index"):
        ItemIndex.load(tmp_path / "index")
