"""`train.start` on a log small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.model.features import Item
from pipeline.train.prepared import Prepared
from pipeline.train.start import LENGTH, met_together, start_vectors, vectors_beside

# One user: 1 and 2 at once, then 3, then 1 again, then 4. Another: 5, then 6. Nobody met 7.
PREPARED = Prepared(
    items=[Item(n, f"i{n}") for n in range(1, 8)],
    probability_n1=np.full(8, 1 / 7),
    items_N=np.array([1, 2, 3, 1, 4, 5, 6], np.int32),
    types_N=np.ones(7, np.uint8),
    times_N=np.array([0, 0, 60, 120, 180, 0, 60], np.int64),
    contexts_N=np.full(7, -1, np.int32),
    offsets_S1=np.array([0, 5, 7], np.int64),
    targets_T=np.arange(7),
    queries_T=np.full(7, -1, np.int32),
    searched_T=np.full(7, -1),
    exposed_X=np.zeros(0, np.int32),
    exposed_offsets_T1=np.zeros(8, np.int64),
    queries=[],
    contexts=[],
)
ONCE = np.ones(7, np.float32)


def counted(moments_apart: int, weights_N: np.ndarray = ONCE) -> dict[tuple[int, int], float]:
    """Returns how much each pair was met together, the lesser item first."""
    pairs = met_together(PREPARED, moments_apart, weights_N).tocoo()
    return {(int(a), int(b)): float(w) for a, b, w in zip(pairs.row, pairs.col, pairs.data, strict=True) if a < b}


def test_items_of_one_moment_and_of_neighbouring_ones_count_once_the_same_item_and_other_people_never() -> None:
    assert counted(1) == {(1, 2): 1, (1, 3): 2, (2, 3): 1, (1, 4): 1, (5, 6): 1}


def test_a_pair_two_moments_apart_counts_half() -> None:
    # Beside what lies one moment apart: 2 to the second 1, and 3 to 4; from the first 1 to the second is no pair.
    assert counted(2) == {(1, 2): 1.5, (1, 3): 2, (2, 3): 1, (1, 4): 1, (3, 4): 0.5, (5, 6): 1}


def test_a_pair_counts_as_its_later_event_does() -> None:
    weights_N = np.array([1, 1, 1, 0.5, 0.25, 1, 2], np.float32)
    assert counted(1, weights_N) == {(1, 2): 1, (1, 3): 1.5, (2, 3): 1, (1, 4): 0.25, (5, 6): 2}


def test_items_met_together_begin_nearer_than_others_and_unmet_ones_at_nothing() -> None:
    vectors = start_vectors(PREPARED, 4, 4, ONCE)
    assert vectors.shape == (8, 4)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors[1:7], axis=1) == pytest.approx(np.full(6, LENGTH), abs=1e-6)
    assert not vectors[[0, 7]].any()
    near = vectors @ vectors.T
    assert near[5, 6] > max(near[5, 1], near[5, 2], near[5, 3], near[5, 4])


def test_more_dimensions_than_items_are_padded_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start_vectors(PREPARED, 16, 4, ONCE).shape == (8, 16)
    whole = met_together(PREPARED, 2, ONCE).toarray()
    monkeypatch.setattr("pipeline.train.start.BLOCK", 2)
    assert met_together(PREPARED, 2, ONCE).toarray() == pytest.approx(whole)


def test_a_great_catalogue_takes_the_sparse_way_to_the_same_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    items_N = draw.integers(1, 41, 2000).astype(np.int32)
    many = replace(
        PREPARED,
        items=[Item(n, f"i{n}") for n in range(1, 41)],
        items_N=items_N,
        times_N=np.arange(2000) * 60,
        offsets_S1=np.array([0, 2000]),
    )
    dense = start_vectors(many, 4, 3, np.ones(2000, np.float32))
    monkeypatch.setattr("pipeline.train.start.DENSE_ITEMS", 8)
    sparse = start_vectors(many, 4, 3, np.ones(2000, np.float32))
    assert sparse @ sparse.T == pytest.approx(dense @ dense.T, abs=0.02)


def test_an_item_not_known_before_starts_where_those_it_was_met_with_lie_and_an_unmet_one_stays() -> None:
    # 5 was met with 6 alone, 7 with none. Known rows are 2, 2, 2, 2 and 4 long: 2.4 in the mean.
    rows_n1D = np.array([[9, 9], [0, 2], [0, 2], [0, 2], [0, 2], [0, 0], [4, 0], [1, 1]], np.float32)
    known_n1 = np.array([False, True, True, True, True, False, True, False])
    found = vectors_beside(PREPARED, rows_n1D, known_n1, 4, ONCE)
    assert found[5] == pytest.approx([2.4, 0])
    others = [0, 1, 2, 3, 4, 6, 7]
    assert np.array_equal(found[others], rows_n1D[others])
