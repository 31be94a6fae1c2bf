"""JSON lines read by whole blocks are held to the standard codec, line by line."""

from __future__ import annotations

import json
import random

import pytest

from pipeline.ingest.reading.json_lines import TORN, Objects
from pipeline.ingest.reading.records import BOM, blocks

COLUMNS = ("a", "b.c", "d")
VALUES = [
    "1",
    "-0",
    "1.50",
    "1e2",
    "true",
    "null",
    '"x"',
    '"é\\u00e9"',
    '"a\\"b"',
    "[1, {}]",
    '{"c": 7}',
    '{"c": {"e": "ü"}}',
    "NaN",
    "1e400",
]
ODD = [
    "",
    "{",
    "}",
    "[]",
    "7",
    '{"a": 1}{"a": 2}',
    '{"a":',
    '"b": 1}',
    '{"a": "\\ud800"}',
    "{} ",
    ' {"a": 1}',
    "\ufeff{}",
    "nul",
]


def carefully(line: bytes, encoding: str) -> tuple[str | None, ...] | None:
    """Returns the columns of one line as the standard codec tells them."""
    try:
        value = json.loads(line.decode(encoding))
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    inner = value.get("b.c", value["b"].get("c") if isinstance(value.get("b"), dict) else None)
    found = (value.get("a"), inner, value.get("d"))
    return tuple(v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in found)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("odd_share", [0.0, 0.05, 0.5])
def test_blocks_are_read_as_if_line_by_line(odd_share: float, encoding: str) -> None:
    dice = random.Random(f"{odd_share} {encoding}")
    for _ in range(200):
        names = ["a", "b", "b.c", "d", "a"]
        lines = [
            "{" + ", ".join(f'"{name}": {dice.choice(VALUES)}' for name in dice.sample(names, dice.randrange(6))) + "}"
            if dice.random() >= odd_share
            else dice.choice(ODD)
            for _ in range(dice.randrange(1, 12))
        ]
        data = "\n".join(lines).encode(encoding, "replace")
        objects, found = Objects(COLUMNS, encoding), []
        for block in blocks(iter([data]), None):
            table, torn = objects.parse(block)
            values = zip(*(column.to_pylist() for column in table.columns), strict=True)
            found += [None if number in torn else next(values) for number in range(len(block))]
            assert set(torn.values()) <= {TORN}
        assert found == [carefully(line, encoding) for line in data.removeprefix(BOM).split(b"\n") if line], data
