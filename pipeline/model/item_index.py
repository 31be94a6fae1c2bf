"""The item index: the one store of item vectors, and the search for the greatest inner products among them.

Below `LISTS_FROM` items every vector is looked at; from there on those in the nearest inverted lists are.

Shapes: n items, D dim, Q queries, K answers, R rows. Row i of the index is the item with tower index i + 1.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.inverted_lists import coarse, lists_of, settle, shared
from pipeline.model.storage import KINDS, evenly, stored

__all__ = ["KINDS", "LISTS_FROM", "Facts", "ItemIndex"]

LISTS_FROM = 50_000
"""Fewer vectors are looked at in a few milliseconds by one thread, and so are fewer allowed rows."""
RECALL, K = 0.99, 100
PROBES = 500
BYTES_PER_ID = 8
"""Of a vector in a list."""
END = struct.Struct("<Q")
"""faiss maps a file without a look at its length, so what is cut off would end the process at the first look-up."""


@dataclass(frozen=True)
class Facts:
    """How an index was built, for the manifest.

    Attributes:
        lists, nprobe: how many there are and how many are looked at; 0 where every vector is.
        recall_of_lists: share of the top k of all lists that those looked at find for the probes; None without lists.
        recall_against_exact: share of the exact top k (float32, every vector looked at) found for the probes; None
            where none were given.
        k: of both recalls.
        bytes: of the file.
        fixed_bytes: of them those for codebooks, ranges, axes and centroids, which serve all vectors.
    """

    kind: str
    lists: int
    nprobe: int
    recall_of_lists: float | None
    recall_against_exact: float | None
    k: int
    bytes: int
    fixed_bytes: int


class ItemIndex:
    """Finds the items whose vectors have the greatest inner product with a query's.

    Not for two threads at once.

    Attributes:
        facts: None in an index that was loaded.
    """

    facts: Facts | None = None

    def __init__(self, index: Any, lists_from: int | None = LISTS_FROM) -> None:
        faiss.omp_set_num_threads(1)
        self._lists_from = lists_from
        self._index, self._lists = index, lists_of(index)
        if self._lists is not None:
            self._lists.make_direct_map()

    @classmethod
    def build(
        cls,
        vectors_nD: np.ndarray,
        kind: str,
        probes_QD: np.ndarray | None = None,
        lists_from: int | None = LISTS_FROM,
        recall: float = RECALL,
        seed: int = 17,
    ) -> ItemIndex:
        """Stores vectors; equal input gives equal bytes.

        Args:
            kind: one of `storage.KINDS`.
            probes_QD: float32, queries as they will be asked, at most 500 of which are; where None, how many lists are
                looked at is settled with some of the vectors, which is easier.
            lists_from: so many vectors are put into lists, and where a filter allows fewer all lists are looked at;
                None puts none into lists.
            recall: share of the top 100 of all lists that those looked at must find.

        Raises: ShapeError, DataError: the kind does not fit vectors of this length, or so few of them.
        """
        # One thread: others spin where the machine is busy, and sums would depend on how many there are.
        faiss.omp_set_num_threads(1)
        rows_nD = np.ascontiguousarray(vectors_nD, dtype=np.float32)
        listed = lists_from is not None and len(rows_nD) >= lists_from
        index = stored(rows_nD, kind, partial(coarse, seed=seed) if listed else None)
        asked = probes_QD is not None and len(probes_QD) > 0
        probes_QD = evenly(np.ascontiguousarray(probes_QD, np.float32) if asked else rows_nD, PROBES)
        k = min(K, len(rows_nD))
        found = settle(index, probes_QD, k, recall) if listed else None
        built = cls(index, lists_from)
        exact = None
        if asked:
            exact = shared(stored(rows_nD, "float32").search(probes_QD, k)[1], built.search(probes_QD, k)[1])
        built.facts = built._facts(kind, k, found, exact)
        return built

    @classmethod
    def load(cls, path: Path) -> ItemIndex:
        """Opens a file; vectors that lie row by row are mapped, so processes that open the same file share them.

        Raises: CorruptArtifactError: the file is torn, or no index.
        """
        _check_end(path)
        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise CorruptArtifactError(f"{path}: is not an item index ({str(error).splitlines()[0][:120]}).") from None

    def save(self, path: Path) -> None:
        """Writes a file, without the map from rows to lists, which is quickly made again.

        Its last bytes say how long it is; faiss does not read them.
        """
        self._write(str(path))
        length = path.stat().st_size
        with path.open("ab") as file:
            file.write(END.pack(length))

    def _write(self, target: Any) -> None:
        if self._lists is not None:
            self._lists.set_direct_map_type(faiss.DirectMap.NoMap)
        faiss.write_index(self._index, target)
        if self._lists is not None:
            self._lists.make_direct_map()

    @property
    def bytes(self) -> int:
        """What the file takes."""
        writer = faiss.VectorIOWriter()
        self._write(writer)
        return writer.data.size() + END.size

    @property
    def dim(self) -> int:
        return self._index.d

    def __len__(self) -> int:
        return self._index.ntotal

    def vectors(self, rows_R: np.ndarray) -> np.ndarray:
        """Returns float32 [R, D], as stored; of nested dimensions, in all of them."""
        return self._index.reconstruct_batch(np.ascontiguousarray(rows_R, dtype=np.int64))

    def look_at(self, nprobe: int) -> None:
        """Sets how many lists a search looks at, where there are lists."""
        if self._lists is not None:
            self._lists.nprobe = nprobe

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
        queries_QD = np.ascontiguousarray(queries_QD, dtype=np.float32)
        # A selector borrows the bits, so both must live until the search is over.
        bits = None if only is None else _bits(only, len(self))
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        if self._lists is not None:
            return self._in_lists(queries_QD, k, selector, allowed)
        if selector is None:
            return self._index.search(queries_QD, k)
        if isinstance(self._index, faiss.IndexPQ):
            return self._among(queries_QD, k, selector)
        return self._index.search(queries_QD, k, params=faiss.SearchParameters(sel=selector))

    def _in_lists(self, queries_QD: np.ndarray, k: int, selector: Any, allowed: int) -> tuple[np.ndarray, np.ndarray]:
        """Looks at all lists where few rows are allowed or those near hold fewer than k, else at more the fewer are."""
        whole = self._lists.nlist
        nprobe = min(whole, -(-self._lists.nprobe * len(self) // allowed))
        if selector is not None and allowed < self._lists_from:
            nprobe = whole
        params = faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
        scores_QK, rows_QK = self._index.search(queries_QD, k, params=params)
        short_Q = rows_QK[:, -1] < 0
        if short_Q.any():
            params = faiss.SearchParametersIVF(sel=selector, nprobe=whole)
            scores_QK[short_Q], rows_QK[short_Q] = self._index.search(queries_QD[short_Q], k, params=params)
        return scores_QK, rows_QK

    def _among(self, queries_QD: np.ndarray, k: int, selector: Any) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best of all allowed: faiss's product quantizer knows no filter but in a search by range."""
        params = faiss.SearchParameters(sel=selector)
        _, scores, rows = self._index.range_search(queries_QD, -np.inf, params=params)
        scores_QR, rows_QR = (each.reshape(len(queries_QD), -1) for each in (scores, rows))
        order_QK = np.argsort(-scores_QR, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores_QR, order_QK, axis=1), np.take_along_axis(rows_QR, order_QK, axis=1)

    def _facts(self, kind: str, k: int, of_lists: float | None, exact: float | None) -> Facts:
        lists, size = self._lists, len(self)
        inner = self._index if lists is None else lists
        if isinstance(inner, faiss.IndexPreTransform):
            inner = faiss.downcast_index(inner.index)
        per_vector = inner.code_size + (0 if lists is None else BYTES_PER_ID)
        recalls = (None if share is None else round(share, 6) for share in (of_lists, exact))
        counts = (0, 0) if lists is None else (lists.nlist, lists.nprobe)
        return Facts(kind, *counts, *recalls, k, self.bytes, self.bytes - size * per_vector)


def _check_end(path: Path) -> None:
    """Raises: CorruptArtifactError: the file does not end where it says it does."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END) - END.size
        file.seek(max(length, 0))
        whole = length > 0 and file.read() == END.pack(length)
    if not whole:
        raise CorruptArtifactError(f"{path}: is not an item index, or torn; make the bundle again.")


def _bits(rows: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=np.uint8)
    mask[rows] = 1
    return np.packbits(mask, bitorder="little")
