"""CSV read by whole blocks is held to a reader that goes byte by byte and is too simple to be wrong."""

from __future__ import annotations

import random

import pytest

from pipeline.ingest.profiles.profile import Layout
from pipeline.ingest.reading import records
from pipeline.ingest.reading.delimited import Parser
from pipeline.ingest.reading.records import MAX_RECORD_BYTES, blocks

Read = list[tuple[int, str | None, tuple[str | None, ...] | None]]
"""Of each record: where it begins, why it is torn, its values."""
COLUMNS = ("a", "b", "c")
PIECES = (b",", b",", b",", b"\n", b"\n", b'"', b'"', b'""', b"\r\n", b"\r", b" ", b"\t", b"x", b"yz", b"12", b"NULL")
ODD_PIECES = (b"\0", b"\xe9", b"\x81", "é".encode(), "\u3000".encode(), b"\x1f", b"\n\n", b'\n"', b'",', b',"')


def fields_of(text: str) -> tuple[list[str], bool]:
    """Returns the fields of a record and whether it ends inside a quoted one."""
    fields, inside, begun, n = [""], False, False, 0
    while n < len(text):
        letter = text[n]
        if inside and letter == '"' and text[n + 1 : n + 2] == '"':
            fields[-1] += '"'
            n += 1
        elif inside and letter == '"':
            inside = False
        elif inside:
            fields[-1] += letter
        elif letter == ",":
            fields.append("")
            begun = False
            n += 1
            continue
        elif letter == '"' and not begun:
            inside = True
        else:
            fields[-1] += letter
        begun = True
        n += 1
    return fields, inside


def end_of(text: str, at: int) -> int | None:
    """Returns where a record ends, or None where a quote never closes.

    A quote closes a field of several lines only where a delimiter or the line's end follows.
    """
    inside, begun, crossed, lines, n = False, False, False, 1, at
    while n < len(text) and (inside or text[n] != "\n"):
        letter, after = text[n], text[n + 1 : n + 2]
        if inside and letter == '"' and after == '"':
            n += 1
        elif inside and letter == '"':
            inside = False
            if crossed and after not in ("", ",", "\r", "\n"):
                return None
        elif inside:
            crossed = crossed or letter == "\n"
            lines += letter == "\n"
        elif letter == '"' and not begun:
            inside, crossed = True, False
        begun = letter != "," or inside
        n += 1
    return None if inside or (lines > 1 and n - at > MAX_RECORD_BYTES) else n


def read_carefully(data: bytes, encoding: str, null_words: tuple[str, ...]) -> Read:
    """Reads record by record; bytes are looked at as latin-1, in which each is a letter of its own."""
    at = 3 if data.startswith(records.BOM) else 0
    found: Read = []
    while at < len(data):
        closed = end_of(data.decode("latin-1"), at)
        end = data.find(b"\n", at) % (len(data) + 1) if closed is None else closed
        record = data[at : end - 1] if end > at and data[end - 1 : end] == b"\r" else data[at:end]
        if record:
            found.append((at, *judged(record, closed is not None, encoding, null_words)))
        at = end + 1
    return found


def judged(
    record: bytes, closed: bool, encoding: str, null_words: tuple[str, ...]
) -> tuple[str | None, tuple[str | None, ...] | None]:
    if not closed:
        return "a quote never closes", None
    try:
        text = record.decode(encoding)
    except UnicodeDecodeError:
        return f"bytes that are no {encoding}", None
    if "\0" in text:
        return "a NUL byte", None
    if any(fields_of(text[:n])[1] is False for n, letter in enumerate(text) if letter == "\r"):
        return "a carriage return within the line", None
    fields, _ = fields_of(text)
    if len(fields) != len(COLUMNS):
        return f"{len(fields)} columns instead of {len(COLUMNS)}", None
    values = (field.strip() for field in fields)
    return None, tuple(None if value in ("", *null_words) else value for value in values)


def read_in_blocks(data: bytes, chunk_bytes: int, layout: Layout) -> Read:
    parser = Parser(COLUMNS, layout, COLUMNS, "the file")
    chunks = (data[n : n + chunk_bytes] for n in range(0, len(data), chunk_bytes))
    found: Read = []
    for block in blocks(chunks, layout.delimiter):
        if len(block):
            table, torn = parser.parse(block)
            values = iter(zip(*(column.to_pylist() for column in table.columns), strict=True))
            for number, at in enumerate((block.begins + block.offset).tolist()):
                why = torn.get(number)
                found.append((at, why, None if why else next(values)))
            assert next(values, None) is None
    return found


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
@pytest.mark.parametrize("seed", range(8))
def test_blocks_are_read_as_if_byte_by_byte(seed: int, encoding: str) -> None:
    dice = random.Random(f"{seed} {encoding}")
    layout = Layout(files="{day}", encoding=encoding, null_words=("NULL",))
    for _ in range(150):
        pieces = PIECES if dice.random() < 0.6 else PIECES + ODD_PIECES
        data = b"".join(dice.choices(pieces, k=dice.randrange(1, 60)))
        data = records.BOM * (dice.random() < 0.1) + data
        whole = read_carefully(data, encoding, ("NULL",))
        for chunk_bytes in (1, dice.randrange(2, 20), 10_000):
            assert read_in_blocks(data, chunk_bytes, layout) == whole, (data, chunk_bytes)


def test_plain_rows_among_odd_ones_are_read_as_if_byte_by_byte() -> None:
    dice = random.Random(3)
    odd = [
        b'1,"x\ny",2',
        b'1,"open',
        b"1,\0,2",
        b"1,\xff,2",
        b"1,2",
        b"",
        b"a\rb,1,2",
        b'1,"a\rb",2',
        b'1,12",2',
        b" 1 ,2,3",
    ]
    lines = [dice.choice(odd) if dice.random() < 0.1 else b"7,%d,x" % n for n in range(600)]
    data = b"\n".join(lines)
    assert read_in_blocks(data, 1000, Layout(files="{day}")) == read_carefully(data, "utf-8", ())


def test_other_delimiters_are_read() -> None:
    data = b'1\t x \t\n2\t"a\tb"\tc\n'
    layout = Layout(files="{day}", delimiter="\t")
    assert read_in_blocks(data, 5, layout) == [(0, None, ("1", "x", None)), (7, None, ("2", "a\tb", "c"))]
