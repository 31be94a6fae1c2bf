"""What a day's files say of the shop's items: from catalogue files, or from the columns of the events themselves.

Files become `item_states`: an item's description and the time it holds from and until. A row of a file is a whole
description, or (`format: properties`) one change of one property, the others staying what they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import DataError
from pipeline.core.schema import CATALOGUE
from pipeline.ingest.judging.canonical import catalogue_value, category_of, described, text_of
from pipeline.ingest.judging.times import moment
from pipeline.ingest.profiles.profile import DESCRIBED, CatalogueColumns, Column, Profile
from pipeline.ingest.reading import batches
from pipeline.ingest.reading.rows import read_rows
from pipeline.store.files import RawFile

PATHS_SCHEMA = pa.schema([("named", pa.string()), ("path", pa.string())])


def columns(profile: Profile) -> tuple[str, ...]:
    """Returns the raw columns of catalogue files."""
    catalogue = profile.catalogue
    if catalogue.format == "properties":
        keys = (catalogue.columns.item_id, catalogue.columns.valid_from)
        named = [key.column for key in keys if key]
        return tuple(dict.fromkeys([*named, str(catalogue.property_column), str(catalogue.value_column)]))
    mapped = (getattr(catalogue.columns, name) for name in CatalogueColumns.model_fields)
    return tuple(dict.fromkeys(column.column for column in mapped if column))


def replaced(profile: Profile) -> dict[str, Column]:
    """Returns the columns that get replacements made before the engine sees them, by name."""
    mapped = (getattr(profile.catalogue.columns, name) for name in CatalogueColumns.model_fields)
    return {batches.text_name(column): column for column in mapped if column and column.replace}


def schema(profile: Profile) -> pa.Schema:
    texts = [*(f"raw_{name}" for name in columns(profile)), *replaced(profile)]
    return pa.schema([("place", pa.int64()), *((name, pa.string()) for name in texts)])


def read_items(files: Sequence[RawFile], profile: Profile, counted: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Yields the rows of catalogue files; a torn row describes nothing, nor does a property nobody asked for.

    Args:
        counted: is told how many rows were `read`, and how many of them `torn` or of an `other_property`.
    """
    wanted, place = schema(profile), 0
    for file in files:
        for rows in read_rows(file, profile.catalogue.layout, columns(profile)):
            places = pa.array(range(place, place + len(rows.torn)), pa.int64())
            arrays = [places, *(column.combine_chunks() for column in rows.table.columns)]
            arrays += [_cleaned(rows.table, column, profile) for column in replaced(profile).values()]
            batch = pa.RecordBatch.from_arrays(arrays, schema=wanted)
            whole = batch.filter(pa.array([why is None for why in rows.torn], pa.bool_()))
            kept = whole.filter(_asked_for(whole, profile))
            place += len(rows.torn)
            torn, other = batch.num_rows - whole.num_rows, whole.num_rows - kept.num_rows
            counted.update(read=batch.num_rows, torn=torn, other_property=other)
            yield kept


def _cleaned(rows: pa.Table, column: Column, profile: Profile) -> pa.Array:
    catalogue = profile.catalogue
    if column.column in rows.column_names:
        said = rows.column(column.column)
    else:
        of_property = pc.equal(rows.column(catalogue.property_column), column.column)
        said = pc.if_else(of_property, rows.column(catalogue.value_column), pa.scalar(None, pa.string()))
    return batches.cleaned(said.combine_chunks(), column)


def _asked_for(batch: pa.RecordBatch, profile: Profile) -> pa.Array:
    if profile.catalogue.format == "rows":
        return pa.repeat(pa.scalar(True), batch.num_rows)
    mapped = [getattr(profile.catalogue.columns, name) for name in DESCRIBED]
    properties = pa.array([column.column for column in mapped if column], pa.string())
    return pc.is_in(batch.column(f"raw_{profile.catalogue.property_column}"), value_set=properties)


def read_paths(files: Sequence[RawFile], profile: Profile) -> pa.Table:
    """Returns the path from the root to every category of the category tree.

    Raises: DataError: a category is its own ancestor.
    """
    tree = profile.catalogue.category_tree
    parents: dict[str, str | None] = {}
    for file in files if tree else ():
        layout = profile.catalogue.layout.model_copy(update={"files": tree.files})
        for rows in read_rows(file, layout, (tree.child, tree.parent)):
            pairs = zip(*(rows.table.column(n).to_pylist() for n in (tree.child, tree.parent)), strict=True)
            parents |= {child: parent for child, parent in pairs if child}
    paths = {category_of(name): "/".join(_ancestry(name, parents)) for name in parents}
    return pa.table({"named": list(paths), "path": list(paths.values())}, schema=PATHS_SCHEMA)


def _ancestry(name: str, parents: dict[str, str | None]) -> list[str]:
    path, above = [name], parents.get(name)
    while above:
        if above in path:
            raise DataError(f"The category tree: {name} lies below {above}, which lies below itself; correct the file.")
        path.append(above)
        above = parents.get(above)
    return path[::-1]


def states_of_files(profile: Profile) -> ir.Table:
    """Returns `item_states`: the columns of `schema.CATALOGUE` and `until`, when the next description of the item came.

    Both moments are null where the files state no time.
    """
    said = _said(profile)
    if profile.catalogue.format == "properties":
        changes = said.group_by("item_id", "valid_from").agg(
            **{name: said[name].argmax(said.place, where=said[name].notnull()) for name in DESCRIBED}
        )
        states = _carried_forward(changes)
    else:
        newest = ibis.window(group_by=[said.item_id, said.valid_from], order_by=ibis.desc(said.place))
        numbered = said.mutate(newer=ibis.row_number().over(newest))
        states = numbered.filter(numbered.newer == 0)
    following = ibis.window(group_by=states.item_id, order_by=states.valid_from)
    return states.select(*CATALOGUE, until=states.valid_from.lead().over(following))


def left_out(profile: Profile) -> ir.Table:
    """Returns the one row that counts what describes nothing, by why."""
    rows = _typed(profile)
    why = _unusable(rows, profile)
    first = ibis.cases(*((wrong.fill_null(False), ibis.literal(name)) for name, wrong in why.items()), else_="")
    return rows.mutate(why=first).aggregate(**{name: (first == name).sum().fill_null(0) for name in why})


def _unusable(rows: ir.Table, profile: Profile) -> dict[str, ir.BooleanValue]:
    """Returns what makes a row describe nothing: no item, no readable time where one is due, a vector of no numbers."""
    due = ibis.literal(profile.catalogue.columns.valid_from is not None)
    return {
        "no_item": rows.item_id.isnull(),
        "bad_time": due & rows.valid_from.isnull(),
        "bad_vector": rows.given_vector & rows.vector.isnull(),
    }


def _said(profile: Profile) -> ir.Table:
    """Returns what each row says, typed, but for rows that describe nothing."""
    rows = _typed(profile)
    rows = rows.filter(*(~wrong for wrong in _unusable(rows, profile).values()))
    return _with_paths(rows) if profile.catalogue.category_tree else rows


def _typed(profile: Profile) -> ir.Table:
    mapped = profile.catalogue.columns
    raw = ibis.table(ibis.Schema.from_pyarrow(schema(profile)), name="raw_items")
    if profile.catalogue.format == "properties":
        what, value = raw[f"raw_{profile.catalogue.property_column}"], raw[f"raw_{profile.catalogue.value_column}"]
        properties = {column.column for name in DESCRIBED if (column := getattr(mapped, name))}
        nothing = ibis.null("string")
        raw = raw.mutate(**{f"raw_{p}": ibis.ifelse(what == p, value, nothing) for p in sorted(properties)})
    since = moment(text_of(raw, mapped.valid_from), profile.catalogue.time) if mapped.valid_from else None
    return raw.select(
        "place",
        item_id=text_of(raw, mapped.item_id),
        valid_from=ibis.null("timestamp('UTC')") if since is None else since,
        given_vector=text_of(raw, mapped.vector).notnull(),
        **{name: catalogue_value(raw, name, getattr(mapped, name)).cast(CATALOGUE[name]) for name in DESCRIBED},
    )


def _with_paths(rows: ir.Table) -> ir.Table:
    paths = ibis.table(dict.fromkeys(PATHS_SCHEMA.names, "string"), name="category_paths")
    joined = rows.left_join(paths, rows.category == paths.named)
    return joined.mutate(category=ibis.coalesce(joined.path, joined.category)).drop(*PATHS_SCHEMA.names)


def _carried_forward(changes: ir.Table) -> ir.Table:
    """Fills what a change does not say with what was said before: the n-th value said holds until the next one."""
    before = ibis.window(group_by=changes.item_id, order_by=changes.valid_from, preceding=None, following=0)
    counted = changes.mutate(**{f"nth_{name}": changes[name].count().over(before) for name in DESCRIBED})
    filled = {
        name: counted[name].max().over(ibis.window(group_by=[counted.item_id, counted[f"nth_{name}"]]))
        for name in DESCRIBED
    }
    return counted.mutate(**filled)


def items_of_files(profile: Profile) -> ir.Table:
    """Returns the descriptions that held at some time of the day (`asked`), in order of item and time.

    Files that cover more than the day are asked for the items met in clean rows, or described anew that day.
    """
    states = ibis.table(CATALOGUE | {"until": "timestamp('UTC')"}, name="item_states")
    moments = {n: "timestamp('UTC')" for n in ("begin", "end", "horizon")}
    rows = states.cross_join(ibis.table(moments, name="asked"))
    known = (rows.valid_from < ibis.least(rows.end, rows.horizon)) & (rows.until.isnull() | (rows.until > rows.begin))
    rows = rows.filter(rows.valid_from.isnull() | known)
    if profile.catalogue.file_covers != "day":
        judged = ibis.table(described_events(), name="judged")
        met = judged.filter(judged.outcome == "clean").select(met=judged.item_id).distinct()
        rows = rows.left_join(met, rows.item_id == met.met)
        rows = rows.filter(rows.met.notnull() | (rows.valid_from >= rows.begin))
    return _in_order(rows.mutate(valid_from=ibis.coalesce(rows.valid_from, rows.begin)))


def items_of_events(profile: Profile) -> ir.Table:
    """Returns one row an item met in clean rows: the day's last values, valid since they were first seen that day."""
    judged = ibis.table(described_events(), name="judged")
    clean = judged.filter(judged.outcome == "clean", judged.item_id.notnull())
    order = [clean.event_time, clean.place]
    clean = clean.mutate(nth=ibis.row_number().over(ibis.window(order_by=order)))
    last = clean.group_by("item_id").agg(
        **{n: clean[f"item_{n}"].argmax(clean.nth, where=clean[f"item_{n}"].notnull()) for n in DESCRIBED}
    )
    joined = clean.join(last.rename({f"last_{n}": n for n in DESCRIBED}), "item_id")
    same = [joined[f"item_{n}"].identical_to(joined[f"last_{n}"]) | joined[f"item_{n}"].isnull() for n in DESCRIBED]
    agree = ibis.and_(*same)
    keys = {n: joined[f"last_{n}"] for n in DESCRIBED}
    first = joined.event_time.min(where=agree)
    rows = joined.group_by("item_id", **keys).agg(valid_from=ibis.coalesce(first, joined.event_time.max()))
    return _in_order(rows)


def described_events() -> dict[str, str]:
    """Returns the columns of judged rows a catalogue is made from."""
    named = {"place": "int64", "outcome": "string", "item_id": "string"}
    return named | {"event_time": "timestamp('UTC')"} | {f"item_{n}": CATALOGUE[n] for n in DESCRIBED}


def beside_events(rows: ir.Table, profile: Profile) -> ir.Table:
    """Adds what the rows say of their items, unless files of their own say it."""
    if profile.catalogue.files:
        return rows
    return rows.mutate(**{f"item_{name}": value for name, value in described(rows, profile).items()})


def _in_order(rows: ir.Table) -> ir.Table:
    kept = rows.select([rows[name].cast(kind).name(name) for name, kind in CATALOGUE.items()])
    return kept.order_by(["item_id", "valid_from"])
