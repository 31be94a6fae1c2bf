"""The Arrow batches the engine gets: raw text columns, with person columns already pseudonymised.

Columns: `place` (one number for file and row, see `place_of`), `file_number`, `byte_offset`, `torn`, the pseudonyms
`user_id` and `session_id`, `seen_0` … (does the profile's n-th pattern match?), every raw column as `raw_<name>` but
those the two pseudonyms stand for, and each column with the profile's replacements made under its `text_name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import artifacts
from pipeline.ingest.people.pseudonyms import Pseudonymise
from pipeline.ingest.profiles.profile import DESCRIBED, PEOPLE, Column, Profile
from pipeline.ingest.reading.ahead import ahead
from pipeline.ingest.reading.rows import Rows, read_rows
from pipeline.store.files import RawFile

N = TypeVar("N")
ROWS_A_FILE = 1 << 40
"""More than a file can have."""


def schema(profile: Profile) -> pa.Schema:
    """Returns the columns of every batch."""
    fields = {"place": pa.int64(), "file_number": pa.int32(), "byte_offset": pa.int64(), "torn": pa.string()}
    fields |= dict.fromkeys(PEOPLE, pa.string())
    fields |= {f"seen_{n}": pa.bool_() for n in range(len(profile.patterns))}
    return pa.schema(fields | dict.fromkeys([*raw_columns(profile).values(), *replaced(profile)], pa.string()))


def raw_columns(profile: Profile) -> dict[str, str]:
    """Returns where each raw column lies: a user's or a session's is the pseudonym itself."""
    people = {name: getattr(profile.events.columns, name) for name in PEOPLE}
    hidden = {column.column: name for name, column in people.items() if column}
    return {name: hidden.get(name, f"raw_{name}") for name in profile.event_columns}


def replaced(profile: Profile) -> dict[str, Column]:
    """Returns the columns that get replacements made here, where every engine gets the same, by name."""
    mapped = profile.events.columns
    columns = [mapped.item_id, mapped.event_time, mapped.query, mapped.price, mapped.quantity]
    columns += profile.events.context.values()
    if not profile.catalogue.files:
        columns += [getattr(profile.catalogue.columns, name) for name in DESCRIBED]
    return {text_name(column): column for column in columns if column and column.replace}


def text_name(column: Column) -> str:
    """Returns the name of a column whose replacements are made: other replacements are another column."""
    return f"text_{column.column}_{artifacts.digest_of(list(column.replace.items()))[:8]}"


def read_batches(files: Sequence[RawFile], profile: Profile, pseudonymise: Pseudonymise) -> Iterator[pa.RecordBatch]:
    """Yields every row of a day's files; each block is cut and parsed while the one before is worked on."""
    wanted = schema(profile)
    for number, rows in ahead(_rows_of(files, profile)):
        columns = _placed(rows, number) | _judged(rows, profile) | _people(rows, profile, pseudonymise)
        yield pa.RecordBatch.from_arrays([columns[name] for name in wanted.names], schema=wanted)


def _rows_of(files: Sequence[RawFile], profile: Profile) -> Iterator[tuple[int, Rows]]:
    for number, file in enumerate(in_order(files)):
        for rows in read_rows(file, profile.events, profile.event_columns):
            yield number, rows


def in_order(files: Iterable[RawFile]) -> list[RawFile]:
    """Returns files in the order of their numbers."""
    return sorted(files, key=lambda file: file.name)


class Counted:
    """Batches, and how many rows have passed."""

    def __init__(self, rows: Iterable[pa.RecordBatch], count: int = 0) -> None:
        self._rows, self.count = rows, count

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._rows:
            self.count += batch.num_rows
            yield batch


def place_of(file_number: int, row_number: N) -> N:
    """Returns what tells a row of a day from all others, in the order of files and rows."""
    return row_number + file_number * ROWS_A_FILE


def row_number_of(file_number: N, place: N) -> N:
    """Returns the number of a row in its file, from 1, the header not counted."""
    return place - file_number * ROWS_A_FILE


def _placed(rows: Rows, file_number: int) -> dict[str, pa.Array]:
    count = len(rows.torn)
    return {
        "place": pa.array(place_of(file_number, rows.numbers), pa.int64()),
        "file_number": pa.repeat(pa.scalar(file_number, pa.int32()), count),
        "byte_offset": rows.offsets,
        "torn": pa.nulls(count, pa.string()) if rows.whole else pa.array(rows.torn, pa.string()),
    }


def _judged(rows: Rows, profile: Profile) -> dict[str, pa.Array]:
    """Matches patterns here, because some look into columns the engine never sees in the clear."""
    asked = {rule.column for rule in profile.patterns}
    coded = {name: _flat(rows.table.column(name)).dictionary_encode() for name in asked}
    found = {}
    for n, rule in enumerate(profile.patterns):
        column = coded[rule.column]
        matched = pc.match_substring_regex(column.dictionary, rule.matches).take(column.indices)
        found[f"seen_{n}"] = pc.fill_null(matched, False)
    return found


def _people(rows: Rows, profile: Profile, pseudonymise: Pseudonymise) -> dict[str, pa.Array]:
    raw = {name: _flat(rows.table.column(name)) for name in profile.event_columns}
    nobody = pa.nulls(len(rows.torn), pa.string())
    people = {name: getattr(profile.events.columns, name) for name in PEOPLE}
    plain = {n: cleaned(raw[c.column], c) if c.replace else raw[c.column] for n, c in people.items() if c}
    named = {n: pseudonymise(plain[n]) if n in plain else nobody for n in people}
    places = raw_columns(profile)
    shown = {place: raw[name] for name, place in places.items() if place not in named}
    shown |= {places[n]: pseudonymise(raw[n]) for n in profile.person_columns if places[n] not in named}
    return named | shown | {name: cleaned(raw[column.column], column) for name, column in replaced(profile).items()}


def cleaned(values: pa.Array, column: Column) -> pa.Array:
    """Returns values with the profile's replacements made, in each distinct one once; what becomes empty is null."""
    coded = values.dictionary_encode()
    distinct = coded.dictionary
    for pattern, replacement in column.replace.items():
        distinct = pc.replace_substring_regex(distinct, pattern, replacement)
    return pc.if_else(pc.equal(distinct, ""), pa.scalar(None, pa.string()), distinct).take(coded.indices)


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
