"""How vectors are stored: what each kind loses, and when it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.errors import DataError, ShapeError
from pipeline.model.storage import KINDS, principal_axes, stored

DIM = 16
LOST = {
    "float32": 0.0,
    "float16": 1e-7,
    "int8": 1e-4,
    "int6": 2e-3,
    "int4": 0.02,
    "pq2": 0.01,
    "pq4": 0.1,
    "pq8": 0.3,
    "nested_half_float16": 0.25,
    "nested_half_int8": 0.25,
    "nested_quarter_int8": 0.5,
}
"""The most of a unit vector's squared length that may be lost, of clusters whose variance falls with the dimension."""
FOUND = {"float32": 1.0, "float16": 0.99, "int8": 0.97, "int6": 0.9, "int4": 0.8, "pq2": 0.85, "pq4": 0.6, "pq8": 0.35}
"""The least of the ten nearest that are found."""


@pytest.fixture(scope="module")
def vectors_nD() -> np.ndarray:
    draw = np.random.default_rng(0)
    spread_D = (1 + np.arange(DIM)) ** -0.5
    centres = draw.normal(size=(60, DIM)) * spread_D
    vectors = centres[draw.integers(0, 60, 1200)] + 0.5 * draw.normal(size=(1200, DIM)) * spread_D
    turned, _ = np.linalg.qr(draw.normal(size=(DIM, DIM)))
    vectors = vectors @ turned
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_loses_no_more_than_it_may(kind: str, vectors_nD: np.ndarray) -> None:
    back_nD = stored(vectors_nD, kind).reconstruct_n(0, len(vectors_nD))
    assert back_nD.shape == vectors_nD.shape
    assert np.square(back_nD - vectors_nD).sum(axis=1).mean() <= LOST[kind]


@pytest.mark.parametrize("kind", FOUND)
def test_the_nearest_are_found_through_the_codes(kind: str, vectors_nD: np.ndarray) -> None:
    queries = vectors_nD[::40]
    exact = np.argsort(-(queries @ vectors_nD.T), axis=1)[:, :10]
    _, found = stored(vectors_nD, kind).search(queries, 10)
    assert np.mean([len(set(e) & set(f)) / 10 for e, f in zip(exact, found, strict=True)]) >= FOUND[kind]


@pytest.mark.parametrize(("kind", "kept"), [("nested_half_float16", 8), ("nested_quarter_int8", 4)])
def test_nested_dimensions_are_the_truncated_singular_value_decomposition(
    kind: str, kept: int, vectors_nD: np.ndarray
) -> None:
    left, strengths, right = np.linalg.svd(vectors_nD, full_matrices=False)
    truncated_nD = (left[:, :kept] * strengths[:kept]) @ right[:kept]
    np.testing.assert_allclose(stored(vectors_nD, kind).reconstruct_n(0, 1200), truncated_nD, atol=0.01)


def test_fewer_axes_are_the_first_of_more_and_orthonormal(vectors_nD: np.ndarray) -> None:
    few, more = principal_axes(vectors_nD, 4), principal_axes(vectors_nD, 8)
    np.testing.assert_array_equal(few, more[:4])
    np.testing.assert_allclose(more @ more.T, np.eye(8), atol=1e-6)


def test_axes_of_two_vectors_worked_out() -> None:
    # Nine tenths of the length lies along (3, 4) / 5; the other axis is perpendicular, its greatest number positive.
    vectors = np.array([[3, 4], [3, 4], [-4, 3]], np.float32)
    np.testing.assert_allclose(principal_axes(vectors, 2), [[0.6, 0.8], [0.8, -0.6]], atol=1e-6)


@pytest.mark.parametrize("kind", ["pq2", "pq4", "pq8"])
def test_too_few_vectors_for_codebooks_are_refused_in_a_sentence(kind: str, vectors_nD: np.ndarray) -> None:
    with pytest.raises(DataError, match=f"255 vectors are too few to store as {kind}, .* 256 at least; take int8"):
        stored(vectors_nD[:255], kind)


def test_a_length_that_codes_do_not_divide_is_refused_in_a_sentence() -> None:
    with pytest.raises(ShapeError, match="length 12 cannot be stored as pq8, which needs a multiple of 8"):
        stored(np.zeros((300, 12), np.float32), "pq8")


ANY_NUMBER = [kind for kind in KINDS if not kind.startswith("pq")]


@pytest.mark.parametrize("kind", ANY_NUMBER)
def test_a_dimension_that_never_changes_is_no_hindrance(kind: str, vectors_nD: np.ndarray) -> None:
    vectors = vectors_nD.copy()
    vectors[:, 3] = 0
    back = stored(vectors, kind).reconstruct_n(0, len(vectors))
    assert np.isfinite(back).all() and np.abs(back[:, 3]).max() < 0.01


@pytest.mark.parametrize("kind", ANY_NUMBER)
def test_one_vector_alone_is_stored(kind: str) -> None:
    vector = np.array([[0.6, 0.8, 0, 0]], np.float32)
    assert np.abs(stored(vector, kind).reconstruct_n(0, 1) - vector).max() < 0.01
