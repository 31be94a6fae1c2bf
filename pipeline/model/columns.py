"""Columns of a catalogue: compact, changed and added to while they are read, kept in a file without one Python object.

A million titles of four words as Python strings take 80 MB and, with one interpreter, stall whoever shares it while
they are made; as one text with lengths they take less than half of it and cost nothing until one is looked at.

Shapes: n items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.model.breath import breaths

NOTHING = -1
"""Length of a text, code of a name and of a flag, where there is none."""
NO_NUMBER, DIGITS = -(2**31) + 1, 4
"""Prices lie as whole numbers of cents, or of smaller parts, wherever that gives the very same prices back: binary
fractions do not pack."""
Arrays = Mapping[str, np.ndarray]


class Growing:
    """Rows of numbers that are added to at the end, seldom moved.

    Attributes: view: of one row at a time, as a Python number, which takes numpy three times as long.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self._kept, self._size, self.view = rows, len(rows), memoryview(rows)

    def __len__(self) -> int:
        return self._size

    @property
    def rows(self) -> np.ndarray:
        """What is there by now; may be written to."""
        return self._kept[: self._size]

    def add(self, rows: np.ndarray) -> None:
        needed = self._size + len(rows)
        if needed > len(self._kept):
            moved = np.zeros((max(needed, len(self._kept) + len(self._kept) // 8 + 64), *rows.shape[1:]), rows.dtype)
            moved[: self._size] = self.rows
            self._kept, self.view = moved, memoryview(moved)
        self._kept[self._size : needed] = rows
        self._size = needed


class Column(Sequence[Any]):
    """Values of one field by row, None where an item has none."""

    kind: ClassVar[str]

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def put(self, row: int, value: Any) -> None:
        """Sets the value of a row, or of the next one."""
        raise NotImplementedError

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what a file holds of it."""
        raise NotImplementedError


class Texts(Column):
    """Texts that are nearly all different: one long text in UTF-8, and what was put since beside it."""

    kind = "texts"

    def __init__(self, text: bytes, length_n: np.ndarray) -> None:
        """Args: length_n: int32, in bytes, `NOTHING` for None. Raises: ValueError: they do not add up to the text's."""
        self._text, self._length_n = text, np.ascontiguousarray(length_n, np.int32)
        ends_n = np.cumsum(np.maximum(self._length_n, 0), dtype=np.int64)
        if (ends_n[-1] if len(ends_n) else 0) != len(text):
            raise ValueError("its texts are not as long as it says")
        self._ends, self._lengths = memoryview(ends_n), memoryview(self._length_n)
        self._put: dict[int, str | None] = {}
        self._size = len(length_n)

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Texts:
        encoded = [None if value is None else value.encode() for value in values]
        lengths = np.array([NOTHING if each is None else len(each) for each in encoded], np.int32)
        return cls(b"".join(each for each in encoded if each), lengths)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Texts:
        return cls(arrays["text"].tobytes(), arrays["length"])

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, row: int) -> str | None:  # type: ignore[override]
        if self._put and row in self._put:
            return self._put[row]
        length = self._lengths[row]
        if length < 0:
            return None
        end = self._ends[row]
        return self._text[end - length : end].decode()

    def put(self, row: int, value: str | None) -> None:
        self._put[row] = value
        self._size = max(self._size, row + 1)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"text": np.frombuffer(self._text, np.uint8), "length": self._length_n}


class Names(Column):
    """Texts that repeat: a number each, and every different one once."""

    kind = "names"

    def __init__(self, values: Sequence[str], code_n: np.ndarray) -> None:
        """Raises: ValueError: a code stands for nothing."""
        self._values: list[str | None] = [*values, None]
        self._codes = Growing(np.ascontiguousarray(code_n, np.int32))
        if len(code_n) and not NOTHING <= int(code_n.min()) <= int(code_n.max()) < len(values):
            raise ValueError("a code stands for no name")
        self._code_of = {value: code for code, value in enumerate(values)}

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Names:
        met = dict.fromkeys(value for value in values if value is not None)
        code_of: dict[str | None, int] = {value: code for code, value in enumerate(met)}
        return cls(list(met), np.array([code_of.get(value, NOTHING) for value in values], np.int32))

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Names:
        names = Texts(arrays["text"].tobytes(), arrays["length"])
        return cls([names[row] or "" for part in breaths(range(len(names))) for row in part], arrays["code"])

    @property
    def values(self) -> list[str]:
        """By code, in the order they were first met."""
        return list(self._code_of)

    def code_of(self, value: str) -> int | None:
        return self._code_of.get(value)

    @property
    def code_n(self) -> np.ndarray:
        """int32 [n], `NOTHING` for None."""
        return self._codes.rows

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, row: int) -> str | None:  # type: ignore[override]
        # The last is None, which `NOTHING` stands for.
        return self._values[self._codes.view[row]]

    def put(self, row: int, value: str | None) -> None:
        code = NOTHING if value is None else self._code_of.setdefault(value, len(self._code_of))
        if code == len(self._values) - 1:
            self._values.insert(code, value)
        _set(self._codes, row, code)

    def arrays(self) -> dict[str, np.ndarray]:
        return {**Texts.of(self.values).arrays(), "code": self.code_n}


class Numbers(Column):
    """Numbers, flags or counts; NaN, or `NOTHING` of a flag, is None."""

    kind = "numbers"

    def __init__(self, number_n: np.ndarray) -> None:
        self._numbers = Growing(number_n)
        self._flags = number_n.dtype == np.int8

    @classmethod
    def of(cls, values: Sequence[Any], dtype: type) -> Numbers:
        nothing = np.nan if dtype is np.float64 else NOTHING
        return cls(np.array([nothing if value is None else value for value in values], dtype))

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Numbers:
        number_n = np.ascontiguousarray(arrays["number"])
        return cls(_told(number_n, int(arrays["digits"])) if "digits" in arrays else number_n)

    @property
    def number_n(self) -> np.ndarray:
        """[n], NaN or `NOTHING` for None."""
        return self._numbers.rows

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, row: int) -> Any:
        number = self._numbers.view[row]
        if self._flags:
            return None if number < 0 else bool(number)
        return number if number == number else None

    def put(self, row: int, value: Any) -> None:
        nothing = NOTHING if self._flags else np.nan
        _set(self._numbers, row, nothing if value is None else value)

    def arrays(self) -> dict[str, np.ndarray]:
        for digits in range(DIGITS + 1 if self.number_n.dtype == np.float64 else 0):
            whole_n = np.round(np.where(np.isfinite(self.number_n), self.number_n, NO_NUMBER / 10**digits) * 10**digits)
            whole_n = np.clip(whole_n, NO_NUMBER, -NO_NUMBER).astype(np.int32)
            if np.array_equal(_told(whole_n, digits), self.number_n, equal_nan=True):
                return {"number": whole_n, "digits": np.array(digits, np.int8)}
        return {"number": self.number_n}


def _told(whole_n: np.ndarray, digits: int) -> np.ndarray:
    return np.where(whole_n == NO_NUMBER, np.nan, whole_n / 10.0**digits)


def _set(numbers: Growing, row: int, value: Any) -> None:
    if row == len(numbers):
        numbers.add(np.array([value], numbers.rows.dtype))
    else:
        numbers.rows[row] = value
