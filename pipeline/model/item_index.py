"""The item index: exact inner product over every item, whole or scalar-quantized to a byte a number.

Shapes: n items, D dim, Q queries, K answers, R rows. Row i of the index is the item with tower index i + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.core.errors import CorruptArtifactError, ShapeError


def _flat(dim: int) -> Any:
    return faiss.IndexFlatIP(dim)


def _scalar_quantized(dim: int) -> Any:
    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)


KINDS: dict[str, Callable[[int], Any]] = {"float32": _flat, "int8": _scalar_quantized}
"""Both look at every item, so a filter never costs an answer; they differ in bytes and rounding."""


class ItemIndex:
    """Finds the items whose vectors have the greatest inner product with a query's.

    Not for two threads at once.
    """

    def __init__(self, index: Any, facts: Mapping[str, Any] | None = None) -> None:
        faiss.omp_set_num_threads(1)
        self._index, self.facts = index, dict(facts or {})

    @classmethod
    def build(cls, vectors_nD: np.ndarray, kind: str) -> ItemIndex:
        index = KINDS[kind](vectors_nD.shape[1])
        rows = np.ascontiguousarray(vectors_nD, dtype=np.float32)
        index.train(rows)
        index.add(rows)
        return cls(index, {"kind": kind})

    @classmethod
    def load(cls, path: Path) -> ItemIndex:
        """Raises: CorruptArtifactError: the file is not an index."""
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise CorruptArtifactError(f"{path}: is not an item index ({str(error).splitlines()[0][:120]}).") from None

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @property
    def dim(self) -> int:
        return self._index.d

    def __len__(self) -> int:
        return self._index.ntotal

    def vectors(self, rows_R: np.ndarray) -> np.ndarray:
        """Returns float32 [R, D], as stored."""
        return self._index.reconstruct_batch(np.ascontiguousarray(rows_R, dtype=np.int64))

    def search(self, queries_QD: np.ndarray, k: int, only: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best rows of each query.

        Args:
            only: int64, ascending: the rows that may be answered; None allows all.

        Returns: float32 scores [Q, K], best first, and int64 rows [Q, K]; K = min(k, rows allowed).
        Raises: ShapeError: the queries' length is not the index's.
        """
        if queries_QD.shape[1] != self.dim:
            raise ShapeError(f"Query vectors of length {queries_QD.shape[1]} do not fit an index of length {self.dim}.")
        allowed = len(self) if only is None else len(only)
        k = min(k, allowed)
        if k == 0:
            return np.zeros((len(queries_QD), 0), np.float32), np.zeros((len(queries_QD), 0), np.int64)
        # The selector borrows the bits, so both must live until the search is over.
        bits = None if only is None else _bits(only, len(self))
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        params = None if selector is None else faiss.SearchParameters(sel=selector)
        return self._index.search(np.ascontiguousarray(queries_QD, dtype=np.float32), k, params=params)


def _bits(rows: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=np.uint8)
    mask[rows] = 1
    return np.packbits(mask, bitorder="little")
