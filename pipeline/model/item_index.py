"""The item index: the one store of item vectors, and the search for the greatest inner products among them.

Below `LISTS_FROM` items every vector is looked at, or so few that the answer is provably the same (`sketch.py`); once
loaded they are plain numbers, however few bits they are stored in. From there on those in the nearest inverted lists
are. Under a filter lists that hold nothing allowed are passed over, and the smaller the share that is allowed, the more
of the others are looked at. So half the catalogue or a fiftieth, scattered or one department, is searched about as well
as all of it, in a small part of the time that looking at every list would take.

Shapes: n items, D dim, Q queries, K answers, R rows. Row i of the index is the item with tower index i + 1.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.core.errors import CorruptArtifactError, ShapeError
from pipeline.model.breath import breaths
from pipeline.model.inverted_lists import coarse, lists_of, settle, shared
from pipeline.model.sketch import SKETCH_FROM, Sketch
from pipeline.model.storage import KINDS, evenly, stored

__all__ = ["KINDS", "LISTS_FROM", "Facts", "ItemIndex"]

LISTS_FROM = 50_000
"""Fewer vectors are looked at in a few milliseconds by one thread."""
ROWS = 1000
"""So few allowed rows are looked at one by one."""
RECALL, K = 0.99, 100
DEEPER = 0.75
"""How many more lists are looked at for more than K answers, as a power of how many more are asked for: so 200 to 2,000
answers of 100,000 made vectors were found at a recall of .99 to .996; in as many lists as for K, at .98 to .72."""
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
        dim: length of a vector.
    """

    facts: Facts | None = None

    def __init__(self, index: Any) -> None:
        faiss.omp_set_num_threads(1)
        self._index = self._searched = index
        self._lists = lists_of(index)
        self._vectors_nD = _in_place(index)
        self.dim: int = index.d
        self._allowed: _Allowed | None = None
        self._sketch: Sketch | None = None
        if self._lists is not None:
            self._lists.make_direct_map()
            # The map holds a list in the upper half of each number, and a place in it in the lower.
            self._list_n = (faiss.vector_to_array(self._lists.direct_map.array) >> 32).astype(np.int32)

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
            lists_from: so many vectors are put into lists; None puts none into lists.
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
        built = cls(index)
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
            loaded = cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
        except RuntimeError as error:
            raise CorruptArtifactError(f"{path}: is not an item index ({str(error).splitlines()[0][:120]}).") from None
        if loaded._lists is None and len(loaded):
            loaded._unpack()
        return loaded

    def _unpack(self) -> None:
        """Makes the vectors of few items numbers again: packed ones take longer to look at than to read."""
        if self._vectors_nD is None:
            flat = faiss.IndexFlatIP(self.dim)
            for rows in breaths(range(len(self))):
                flat.add(self.vectors(np.array(rows)))
            self._searched, self._vectors_nD = flat, _in_place(flat)
        if len(self) >= SKETCH_FROM:
            self._sketch = Sketch(self._vectors_nD)

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

    def __len__(self) -> int:
        return self._index.ntotal

    def vectors(self, rows_R: np.ndarray) -> np.ndarray:
        """Returns float32 [R, D], as stored; of nested dimensions, in all of them."""
        if self._vectors_nD is not None:
            return self._vectors_nD[rows_R]
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
        k = min(k, len(self) if only is None else len(only))
        if k == 0:
            return np.zeros((len(queries_QD), 0), np.float32), np.zeros((len(queries_QD), 0), np.int64)
        queries_QD = np.ascontiguousarray(queries_QD, dtype=np.float32)
        if only is None:
            return self._among_all(queries_QD, k)
        if len(only) <= ROWS:
            return self._of_rows(queries_QD, k, only)
        allowed = self._allowed_by(only)
        if self._lists is not None:
            return self._in_lists(queries_QD, k, allowed)
        if isinstance(self._searched, faiss.IndexPQ):
            return self._among(queries_QD, k, allowed.selector)
        return self._searched.search(queries_QD, k, params=faiss.SearchParameters(sel=allowed.selector))

    def _among_all(self, queries_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self._lists is not None:
            return self._in_lists(queries_QD, k, None)
        found = self._sketch.search(queries_QD, k) if self._sketch and len(queries_QD) == 1 else None
        return found or self._searched.search(queries_QD, k)

    def _of_rows(self, queries_QD: np.ndarray, k: int, only: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best of few by looking at each."""
        scores_QR = queries_QD @ self.vectors(only).T
        order_QK = np.argsort(-scores_QR, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores_QR, order_QK, axis=1), only[order_QK]

    def _allowed_by(self, only: np.ndarray) -> _Allowed:
        """Returns the same again for the very same rows: filters are kept, and asked for time after time."""
        if self._allowed is None or self._allowed.rows is not only:
            self._allowed = _Allowed(only, len(self))
            if self._lists is not None:
                self._allowed.limit_lists(self._lists, self._list_n)
        return self._allowed

    def _in_lists(self, queries_QD: np.ndarray, k: int, allowed: _Allowed | None) -> tuple[np.ndarray, np.ndarray]:
        """Looks at the nearest lists, and at all where those hold fewer than k."""
        # The best k of a share of all vectors lie as deep among them as the best k / share of all do.
        deep = k / K if allowed is None else k / K / allowed.share
        nprobe = math.ceil(self._lists.nprobe * max(1.0, deep) ** DEEPER)
        if allowed is not None:
            params = allowed.in_lists(nprobe)
        else:
            params = faiss.SearchParametersIVF(nprobe=min(self._lists.nlist, nprobe)) if deep > 1 else None
        scores_QK, rows_QK = self._searched.search(queries_QD, k, params=params)
        short_Q = rows_QK[:, -1] < 0
        if short_Q.any():
            every = faiss.SearchParametersIVF(sel=allowed and allowed.selector, nprobe=self._lists.nlist)
            scores_QK[short_Q], rows_QK[short_Q] = self._searched.search(queries_QD[short_Q], k, params=every)
        return scores_QK, rows_QK

    def _among(self, queries_QD: np.ndarray, k: int, selector: Any) -> tuple[np.ndarray, np.ndarray]:
        """Finds the best of all allowed: faiss's product quantizer knows no filter but in a search by range."""
        params = faiss.SearchParameters(sel=selector)
        _, scores, rows = self._searched.range_search(queries_QD, -np.inf, params=params)
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


class _Allowed:
    """Rows a search is limited to, as faiss reads them."""

    def __init__(self, rows: np.ndarray, size: int) -> None:
        self.rows, self.share = rows, len(rows) / size
        # A selector borrows its bits, so both live here.
        self._bits = _bits(rows, size)
        self.selector = faiss.IDSelectorBitmap(self._bits)

    def limit_lists(self, lists: Any, list_n: np.ndarray) -> None:
        """Args: list_n: the list of each row."""
        holding = np.flatnonzero(np.bincount(list_n[self.rows], minlength=lists.nlist))
        self._holding, self._list_bits = len(holding), _bits(holding, lists.nlist)
        self._list_selector = faiss.IDSelectorBitmap(self._list_bits)
        self._of_lists = faiss.SearchParameters(sel=self._list_selector)

    def in_lists(self, nprobe: int) -> Any:
        """Returns the search in the nearest lists that hold anything allowed."""
        nprobe = min(self._holding, nprobe)
        return faiss.SearchParametersIVF(sel=self.selector, nprobe=nprobe, quantizer_params=self._of_lists)


def _in_place(index: Any) -> np.ndarray | None:
    """Returns float32 [n, D], the vectors where faiss holds them; None where it holds no such numbers row by row."""
    if not isinstance(index, faiss.IndexFlat):
        return None
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)


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
