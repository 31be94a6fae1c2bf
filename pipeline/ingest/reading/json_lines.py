"""Parses blocks of JSON lines with a compiled codec; what it refuses gets a second chance from the standard one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from pipeline.ingest.reading.records import Block

TORN = "no JSON object"
OPENING, CLOSING = b"{}"


class Objects:
    """The objects of one file, as text columns.

    Attributes:
        seen: the columns met so far.
        objects: of the last block.
    """

    def __init__(self, columns: Sequence[str], encoding: str) -> None:
        self.columns, self.encoding = tuple(columns), encoding
        self.seen: set[str] = set()
        decoder = msgspec.json.Decoder()
        self.decode, self.decode_lines = decoder.decode, decoder.decode_lines
        self.objects: list[dict[str, Any]] = []

    def parse(self, block: Block) -> tuple[pa.Table, dict[int, str]]:
        """Returns the rows that can be read, and why the others, by their number in the block, cannot."""
        parsed = self._all_at_once(block)
        if parsed is None:
            parsed = [self._object(block.record(number)) for number in range(len(block))]
        torn = {number: TORN for number, value in enumerate(parsed) if value is None}
        self.objects = [value for value in parsed if value is not None]
        columns = [self._column(name) for name in self.columns]
        return pa.table(columns, names=list(self.columns)), torn

    def _all_at_once(self, block: Block) -> list[dict[str, Any] | None] | None:
        """Returns the objects of a block whose lines are one each, or None where that is not plain.

        A line that ends an object while another begins the next is no place an object could go on.
        """
        bytes_ = block.bytes
        if (bytes_[block.begins] != OPENING).any() or (bytes_[block.stops - 1] != CLOSING).any():
            return None
        try:
            text = block.data if self.encoding == "utf-8" else block.data.decode(self.encoding).encode()
            parsed = self.decode_lines(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return parsed if len(parsed) == len(block) else None

    def _object(self, record: bytes) -> dict[str, Any] | None:
        try:
            text = record if self.encoding == "utf-8" else record.decode(self.encoding).encode()
            value = self.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            value = _lenient(record, self.encoding)
        return value if isinstance(value, dict) else None

    def _column(self, name: str) -> pa.StringArray:
        if name in self.seen and "." not in name:
            try:
                return pa.array([value.get(name) for value in self.objects], pa.string())
            except pa.ArrowException:
                pass  # Not all values are text.
        return pa.array(self._texts(name), pa.string())

    def _texts(self, name: str) -> list[str | None]:
        """Returns one column; a name with dots reaches into objects unless the object has it whole."""
        values = [value.get(name, _ABSENT) for value in self.objects]
        if "." in name:
            path, pairs = name.split("."), zip(self.objects, values, strict=True)
            values = [_reach(o, path) if value is _ABSENT else value for o, value in pairs]
        if name not in self.seen and any(value is not _ABSENT for value in values):
            self.seen.add(name)
        return [value if isinstance(value, str) else _text(value) for value in values]

    def known(self) -> Iterable[str]:
        return sorted({key for value in self.objects for key in value})


_ABSENT = object()


def _lenient(record: bytes, encoding: str) -> Any:
    """Reads NaN and infinities too; text that cannot be written in UTF-8 is no text."""
    try:
        value = json.loads(record.decode(encoding))
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _reach(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _text(value: Any) -> str | None:
    return None if value is None or value is _ABSENT else json.dumps(value, ensure_ascii=False)
