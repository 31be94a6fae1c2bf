"""Flat arrays that lie in files: written from front to back, read where they lie, never whole in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

ROWS_A_BLOCK = 1 << 22


def blocks(length: int) -> Iterator[slice]:
    """Parts `length` rows into blocks small enough to compute on."""
    return (slice(begin, min(begin + ROWS_A_BLOCK, length)) for begin in range(0, length, ROWS_A_BLOCK))


def new_array(path: Path, dtype: DTypeLike, length: int) -> np.ndarray:
    """Makes a `.npy` file of this length and returns its array, to be written in place."""
    return np.lib.format.open_memmap(path, "w+", dtype, (length,)).view(np.ndarray)


class Columns:
    """Columns of unknown length that grow batch by batch, each a file of bare numbers."""

    def __init__(self, folder: Path, types: dict[str, DTypeLike]) -> None:
        self._folder, self._types = folder, {name: np.dtype(dtype) for name, dtype in types.items()}
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Columns:
        self._files = {name: (self._folder / name).open("wb") for name in self._types}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def append(self, name: str, values: np.ndarray) -> None:
        np.ascontiguousarray(values, self._types[name]).tofile(self._files[name])

    def mapped(self) -> dict[str, np.ndarray]:
        """Returns the arrays as they lie, once the files are closed."""
        return {name: self._mapped(self._folder / name, dtype) for name, dtype in self._types.items()}

    @staticmethod
    def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
        # An empty file cannot be mapped.
        empty = not path.stat().st_size
        return np.zeros(0, dtype) if empty else np.memmap(path, dtype, "r").view(np.ndarray)
