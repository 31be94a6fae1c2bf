"""How vectors may be stored: every kind as faiss stores it, row by row or in inverted lists, with the same codes.

Shapes: n vectors, D dim, d dimensions kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from pipeline.core.errors import DataError, ShapeError

INNER = faiss.METRIC_INNER_PRODUCT
SQ = faiss.ScalarQuantizer
CENTROIDS = 256
"""Of a code of eight bits."""
ROWS_PER_CENTROID, ROUNDS = 39, 12
"""faiss asks for 39 rows a centroid at least."""
ROWS_OF_RANGES = 20_000
"""The search for a range of the least squared error is slow."""


@dataclass(frozen=True)
class Codes:
    """How faiss codes a vector.

    Attributes:
        rows: dim to an empty index that holds codes row by row.
        lists: coarse quantizer, dim and its number of lists to an empty index that holds the same codes in lists.
    """

    rows: Callable[[int], Any]
    lists: Callable[[Any, int, int], Any]


@dataclass(frozen=True)
class Kind:
    """One way to store vectors.

    Attributes:
        share: of the dimensions 1/share are kept, along the principal axes; 1 keeps all as they are.
        numbers_per_code: the dim must be a multiple of it.
        least_rows: what its codebooks are learned from.
        training_rows: rows its training reads at most, evenly spaced; 0 reads all.
        source: where the method is described.
    """

    codes: Codes
    doc: str
    source: str
    share: int = 1
    numbers_per_code: int = 1
    least_rows: int = 1
    training_rows: int = 0


def _scalar(kind: int, statistic: int = SQ.RS_minmax) -> Codes:
    """Returns codes of each number by itself, with a range for each dimension."""

    def ranged(index: Any) -> Any:
        index.sq.rangestat = statistic
        return index

    return Codes(
        lambda dim: ranged(faiss.IndexScalarQuantizer(dim, kind, INNER)),
        lambda coarse, dim, lists: ranged(faiss.IndexIVFScalarQuantizer(coarse, dim, lists, kind, INNER, False)),
    )


def _product(numbers_per_code: int) -> Codes:
    """Returns codes of eight bits for several numbers."""

    def taught(index: Any) -> Any:
        index.pq.cp.niter, index.pq.cp.min_points_per_centroid = ROUNDS, 1
        return index

    def lists_of(coarse: Any, dim: int, lists: int) -> Any:
        index = faiss.IndexIVFPQ(coarse, dim, lists, dim // numbers_per_code, 8, INNER)
        index.by_residual = False
        return taught(index)

    return Codes(lambda dim: taught(faiss.IndexPQ(dim, dim // numbers_per_code, 8, INNER)), lists_of)


FAISS = "https://github.com/facebookresearch/faiss/wiki/Faiss-indexes"
JEGOU = "Jégou, Douze & Schmid 2011, Product quantization for nearest neighbor search"
NESTED = "Eckart & Young 1936; nested dimensions as in Kusupati et al. 2022, Matryoshka Representation Learning"
_WHOLE = Codes(faiss.IndexFlatIP, lambda coarse, dim, lists: faiss.IndexIVFFlat(coarse, dim, lists, INNER))
_HALF, _BYTE, _NIBBLE = _scalar(SQ.QT_fp16), _scalar(SQ.QT_8bit), _scalar(SQ.QT_4bit, SQ.RS_optim)
_LEARNED = {"least_rows": CENTROIDS, "training_rows": CENTROIDS * ROWS_PER_CENTROID}

KINDS: Mapping[str, Kind] = {
    "float32": Kind(_WHOLE, "As trained.", FAISS),
    "float16": Kind(_HALF, "Half precision.", FAISS),
    "int8": Kind(_BYTE, "A byte a number, from each dimension's least to its greatest.", FAISS),
    "int6": Kind(_scalar(SQ.QT_6bit), "Six bits a number, ranges as for int8.", FAISS),
    "int4": Kind(_NIBBLE, "Four bits a number, ranges of least squared error.", FAISS, training_rows=ROWS_OF_RANGES),
    "pq2": Kind(_product(2), "A byte for two numbers: four bits a number.", JEGOU, numbers_per_code=2, **_LEARNED),
    "pq4": Kind(_product(4), "A byte for four numbers: two bits a number.", JEGOU, numbers_per_code=4, **_LEARNED),
    "pq8": Kind(_product(8), "A byte for eight numbers: one bit a number.", JEGOU, numbers_per_code=8, **_LEARNED),
    "nested_half_float16": Kind(_HALF, "Half the dimensions, half precision.", NESTED, share=2),
    "nested_half_int8": Kind(_BYTE, "Half the dimensions, a byte each.", NESTED, share=2),
    "nested_quarter_int8": Kind(_BYTE, "A quarter of the dimensions, a byte each.", NESTED, share=4),
}
"""The ranges of `int8` are least and greatest, because rarer statistics cut off what lies far out: on a trained
catalogue those lost 4 to 90 times the squared error. A rotation before product quantization (OPQ) took six times the
training for half a point of recall, so it is not here."""


def principal_axes(vectors_nD: np.ndarray, kept: int) -> np.ndarray:
    """Returns the axes that keep most of the inner products; they are not centred, and fewer are the first of more.

    Args: kept: d.
    Returns: float32 [d, D], orthonormal rows, the strongest first, each with its greatest number positive.
    Source: Eckart & Young 1936: truncated there, a matrix is approximated best among those of rank d.
    """
    wide_nD = vectors_nD.astype(np.float64)
    _, axes_DD = np.linalg.eigh(wide_nD.T @ wide_nD)
    axes_dD = axes_DD[:, ::-1][:, :kept].T
    signs_d1 = np.sign(np.take_along_axis(axes_dD, np.abs(axes_dD).argmax(axis=1, keepdims=True), axis=1))
    return np.ascontiguousarray(axes_dD * signs_d1, dtype=np.float32)


def stored(vectors_nD: np.ndarray, kind: str, coarse: Callable[[np.ndarray], Any] | None = None) -> Any:
    """Returns a faiss index that holds every vector.

    Args: coarse: from vectors as they are stored to a trained quantizer with an entry a list; None stores row by row.
    Raises: ShapeError, DataError: the kind does not fit vectors of this length, or so few of them.
    """
    way, (rows, dim) = KINDS[kind], vectors_nD.shape
    if dim % way.numbers_per_code:
        raise ShapeError(
            f"Vectors of length {dim} cannot be stored as {kind}, which needs a multiple of {way.numbers_per_code}; "
            "take another kind or another train.dim."
        )
    if rows < way.least_rows:
        raise DataError(
            f"{rows:,} vectors are too few to store as {kind}, which learns its codes from {way.least_rows} at least; "
            "take int8, int6 or int4."
        )
    rotation = _rotation(vectors_nD, way.share) if way.share > 1 else None
    kept_nd = vectors_nD if rotation is None else rotation.apply(vectors_nD)
    index = _empty(way.codes, kept_nd, coarse)
    index.train(evenly(kept_nd, way.training_rows or rows))
    if hasattr(index, "sq"):
        _mend_ranges(index.sq, kept_nd)
    index.add(kept_nd)
    return index if rotation is None else faiss.IndexPreTransform(rotation, index)


def _empty(codes: Codes, vectors_nd: np.ndarray, coarse: Callable[[np.ndarray], Any] | None) -> Any:
    dim = vectors_nd.shape[1]
    if coarse is None:
        return codes.rows(dim)
    quantizer = coarse(vectors_nd)
    return codes.lists(quantizer, dim, quantizer.ntotal)


def _mend_ranges(quantizer: Any, vectors_nd: np.ndarray) -> None:
    """Puts least and greatest where faiss found no range of least error: a dimension that never changes gives NaN."""
    ranges_2d = faiss.vector_to_array(quantizer.trained).reshape(2, -1)
    if np.isnan(ranges_2d).any():
        least_d, greatest_d = vectors_nd.min(axis=0), vectors_nd.max(axis=0)
        mended_2d = np.where(np.isnan(ranges_2d), [least_d, greatest_d - least_d], ranges_2d)
        faiss.copy_array_to_vector(mended_2d.astype(np.float32).ravel(), quantizer.trained)


def _rotation(vectors_nD: np.ndarray, share: int) -> Any:
    dim = vectors_nD.shape[1]
    axes_dD = principal_axes(vectors_nD, -(-dim // share))
    rotation = faiss.LinearTransform(dim, len(axes_dD), False)
    faiss.copy_array_to_vector(axes_dD.ravel(), rotation.A)
    rotation.is_trained = True
    rotation.set_is_orthonormal()
    return rotation


def evenly(vectors_nD: np.ndarray, most: int) -> np.ndarray:
    """Returns all rows, or `most` of them, evenly spaced."""
    if len(vectors_nD) <= most:
        return vectors_nD
    return np.ascontiguousarray(vectors_nD[np.linspace(0, len(vectors_nD) - 1, most).astype(np.int64)])
