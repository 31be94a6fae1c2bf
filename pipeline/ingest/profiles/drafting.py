"""Writes a first profile from the first rows of a file: `profile draft`. Every guess says that it is one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.core.errors import DataError
from pipeline.core.settings import Settings
from pipeline.ingest.profiles.guessing import DATES_IN_NAMES, guess_column, guess_time_format, guess_type, names_person
from pipeline.ingest.profiles.hints import DECIMAL_COMMA, NULL_WORDS, OFFSET
from pipeline.ingest.profiles.profile import Layout
from pipeline.ingest.profiles.sampling import SPREADSHEET_ID, raw_file
from pipeline.ingest.reading.records import blocks, decompressed
from pipeline.ingest.reading.rows import csv_header, read_rows, seekable
from pipeline.store.files import RawFile

HEAD_BYTES = 1 << 18
ROWS = 2000
PARQUET = b"PAR1"
SEPARATORS = ("/", ">", "|", ".")
DELIMITERS = (",", ";", "\t", "|")
MOST_TYPES = 30
FIRST_VALUES = 100
EVENT_COLUMNS = ("user_id", "session_id", "item_id", "event_time", "query", "price", "quantity")
ITEM_COLUMNS = ("category", "brand", "title", "price", "in_stock")


@dataclass(frozen=True)
class Head:
    """The beginning of a file.

    Attributes:
        facts: fields of the profile that say how it is read, with a reason each.
        columns: texts by name of column.
    """

    facts: dict[str, tuple[str, str]]
    columns: dict[str, list[str]]


def draft(location: str, settings: Settings) -> str:
    """Returns a profile as YAML.

    Raises: PipelineError: there is no such file, or nothing can be made of it.
    """
    file = raw_file(location, settings)
    head = _head(file)
    about = f"Drafted from {file.name}; every guess is marked, look at each."
    lines = [f"about: {about if _is_plain(file.name) else _quoted(about)}", "events:"]
    lines += [f"  {line}" for line in _files(file.name)]
    lines += [_line(2, name, value, why) for name, (value, why) in head.facts.items()]
    nulls = Counter(v for values in head.columns.values() for v in values if v.lower() in NULL_WORDS and len(v) > 1)
    if nulls:
        lines.append(_line(2, "null_words", json.dumps(sorted(nulls)), "words that seem to mean nothing was there"))
    mapped = _mapped(head.columns)
    lines += ["  columns:", *_columns(head.columns, mapped)]
    lines += _time(head.columns.get(mapped.get("event_time", ""), []))
    lines += _event_type(head.columns, mapped)
    lines += _people(head.columns, mapped)
    return "\n".join([*lines, *_catalogue(head.columns), ""])


def _line(indent: int, name: str, value: str, why: str = "") -> str:
    told = f"  # guessed: {why}" if why else ""
    return f"{' ' * indent}{name}: {value}{told}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _is_plain(text: str) -> bool:
    """Does YAML read a text without quotes as just this text, whatever follows it?"""
    try:
        return bool(yaml.safe_load(f"{{name: {text}, other: 1}}") == {"name": text, "other": 1})
    except yaml.YAMLError:
        return False


def _named(column: str) -> str:
    return column if _is_plain(column) else _quoted(column)


def _head(file: RawFile) -> Head:
    with file.open() as stream:
        begun = stream.read(len(PARQUET))
    if begun == PARQUET:
        return Head({"format": ("parquet", "the file begins so")}, _parquet_columns(file))
    lines = _first_lines(file)
    encoding, why = "utf-8", ""
    try:
        texts = b"\n".join(lines).decode().split("\n")
    except UnicodeDecodeError:
        encoding, why = "cp1252", "some bytes are no utf-8"
        texts = [line.decode(encoding, "replace") for line in lines]
    facts = {"encoding": (encoding, why)} if why else {}
    first = texts[0].lstrip()
    if first.startswith("["):
        raise DataError(f"{file.name}: this begins as one JSON array; write its objects as lines, one a line.")
    if first.startswith("{"):
        return Head({"format": ("jsonl", "lines begin with a brace")} | facts, _json_columns(texts))
    delimiter = max(DELIMITERS, key=first.count)
    if delimiter != ",":
        facts = {"delimiter": (_quoted(delimiter), "the header holds most of it")} | facts
    return Head(facts, _csv_columns(file, Layout(files="{day}", delimiter=delimiter, encoding=encoding)))


def _first_lines(file: RawFile) -> list[bytes]:
    """Returns the whole lines at the beginning of a file, or all there are, as ingest cuts them."""
    head, whole = b"", True
    with file.open() as stream:
        for chunk in decompressed(stream, file.name):
            head += chunk
            if len(head) >= HEAD_BYTES:
                whole = False
                break
    if not head.strip():
        raise DataError(f"{file.name}: the file is empty; nothing can be drafted from it.")
    cut = list(blocks(iter([head]), None, file.name))[: 2 if whole else 1]
    lines = [block.record(n) for block in cut for n in range(len(block))]
    if not lines:
        raise DataError(
            f"{file.name}: no line ends within its first {len(head):,} bytes; deliver CSV or JSON in lines, or Parquet."
        )
    return lines


def _parquet_columns(file: RawFile) -> dict[str, list[str]]:
    with file.open() as stream, seekable(stream) as source:
        try:
            opened = pq.ParquetFile(source)
            batch = next(opened.iter_batches(ROWS), pa.RecordBatch.from_pylist([], opened.schema_arrow))
        except pa.ArrowException as error:
            why = str(error).splitlines()[0]
            raise DataError(f"{file.name}: this is not Parquet ({why}); deliver it again.") from None
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return {name: [str(v) for v in values.to_pylist() if v is not None] for name, values in columns}


def _csv_columns(file: RawFile, layout: Layout) -> dict[str, list[str]]:
    names = [name for name, times in Counter(csv_header(file, layout)).items() if times == 1]
    whole = (rows.table for rows in read_rows(file, layout, tuple(names)) if rows.whole)
    table = next(whole, pa.table([[]] * len(names), names=names)).slice(0, ROWS)
    return {name: table.column(name).drop_null().to_pylist() for name in names}


def _json_columns(lines: Iterable[str]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for line in islice(lines, ROWS):
        try:
            _gather(json.loads(line), "", columns)
        except ValueError:
            continue
    return columns


def _gather(value: object, name: str, columns: dict[str, list[str]]) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _gather(below, f"{name}.{key}" if name else str(key), columns)
    elif value is not None and name:
        columns.setdefault(name, []).append(value if isinstance(value, str) else json.dumps(value))


def _files(name: str) -> list[str]:
    for pattern, form, covers in DATES_IN_NAMES:
        if re.search(pattern, name):
            files = _quoted(re.sub(pattern, form, name, count=1))
            span = [] if covers == "day" else [_line(0, "file_covers", covers, "the name holds a month and no day")]
            return [_line(0, "files", files, "the name holds a date"), *span]
    return [_line(0, "files", _quoted(name)), _line(0, "file_covers", "all", "the name holds no date")]


def _mapped(columns: dict[str, list[str]]) -> dict[str, str]:
    """Returns the file's column for each of ours that has one; each is used once."""
    mapped: dict[str, str] = {}
    for ours in (*EVENT_COLUMNS, "event_type"):
        theirs = guess_column(ours, [name for name in columns if name not in mapped.values()])
        if theirs:
            mapped[ours] = theirs
    free = (name for name in columns if name not in mapped.values())
    timed = next((name for name in free if guess_time_format(columns[name][:FIRST_VALUES])), None)
    return mapped if "event_time" in mapped or not timed else mapped | {"event_time": timed}


def _columns(columns: dict[str, list[str]], mapped: dict[str, str]) -> list[str]:
    lines = []
    for ours in EVENT_COLUMNS:
        if ours in mapped:
            lines.append(_column(ours, mapped[ours], columns[mapped[ours]]))
        elif ours in ("item_id", "event_time"):
            lines.append(_line(4, ours, f"COLUMN_OF_{ours.upper()}", f"nothing; the file has {_together(columns)}"))
    if not {"user_id", "session_id"} & set(mapped):
        lines.append(_line(4, "user_id", "COLUMN_OF_USER_ID", "nothing; user_id, session_id or both are needed"))
    return lines


def _together(names: Iterable[str]) -> str:
    return " ".join(", ".join(names).split())


def _column(ours: str, theirs: str, values: Sequence[str]) -> str:
    name = _named(theirs)
    like = [value for value in values if re.search(SPREADSHEET_ID, value)]
    if ours.endswith("_id") and like:
        return _line(4, ours, rf"{{column: {name}, replace: {{'\.0$': ''}}}}", "by its name; ids end in .0")
    if ours in ("price", "quantity") and any(re.search(DECIMAL_COMMA, value) for value in values):
        replace = r"{'\.': '', ',': '.'}"
        return _line(4, ours, f"{{column: {name}, replace: {replace}}}", "by its name; a decimal comma")
    if (
        ours == "category"
        and (mark := next((m for m in SEPARATORS if any(m in value for value in values)), "/")) != "/"
    ):
        return _line(4, ours, f"{{column: {name}, separator: {_quoted(mark)}}}", "by its name; a path, by its values")
    return _line(4, ours, name, "by its name" if guess_column(ours, [theirs]) else "by its values")


def _time(values: Sequence[str]) -> list[str]:
    form = guess_time_format(values[:FIRST_VALUES]) or "iso"
    written = form if "%" not in form else _quoted(form)
    lines = ["  time:", _line(4, "format", written, "by the first values" if values else "nothing")]
    if form.startswith("epoch") or any(re.search(OFFSET, value) for value in values[:FIRST_VALUES]):
        return lines
    return [*lines, "    # zone: say it; these times state none, and without it they are taken for UTC"]


def _event_type(columns: dict[str, list[str]], mapped: dict[str, str]) -> list[str]:
    if "event_type" not in mapped:
        return ["  event_type:", _line(4, "otherwise", "purchase", "no column says what happened")]
    lines = ["  event_type:", _line(4, "column", _named(mapped["event_type"]), "by its name"), "    values:"]
    for word, _ in Counter(columns[mapped["event_type"]]).most_common(MOST_TYPES):
        kind = guess_type(word)
        lines.append(
            _line(6, _quoted(word), kind, "by the word") if kind else f"      # {_quoted(word)}: unknown to us"
        )
    return lines


def _people(columns: dict[str, list[str]], mapped: dict[str, str]) -> list[str]:
    named = [name for name in columns if name not in mapped.values() and names_person(name)]
    return [_line(2, "person_columns", json.dumps(named, ensure_ascii=False), "by their names")] if named else []


def _catalogue(columns: dict[str, list[str]]) -> list[str]:
    found = {ours: theirs for ours in ITEM_COLUMNS if (theirs := guess_column(ours, list(columns)))}
    if not found:
        return []
    lines = [_column(ours, theirs, columns[theirs]) for ours, theirs in found.items()]
    return ["catalogue:", "  columns:", *lines]
