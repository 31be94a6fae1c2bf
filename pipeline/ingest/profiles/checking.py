"""Says what a profile makes of the first rows of a file: `profile check`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

import ibis

from pipeline.core.errors import UsageError
from pipeline.core.settings import Settings
from pipeline.ingest.judging.canonical import text_of
from pipeline.ingest.profiles.hints import hints_of
from pipeline.ingest.profiles.profile import DESCRIBED, PEOPLE, EventColumns, load_profile
from pipeline.ingest.profiles.sampling import Sample, shown, taken

PLACES = 3
MOST_WORDS = 12
MOST_DAYS = 10
NOTHING = "-"


def check(location: str, profile_name: str, settings: Settings, rows: int, day: date | None = None) -> str:
    """Returns the report on a sample of one file.

    Raises: PipelineError: there is no such file or profile, or the file cannot be read as the profile says.
    """
    profile = load_profile(profile_name)
    described = profile.catalogue.files
    if described and _names(described, location) and not _names(profile.events.files, location):
        raise UsageError(
            f"{location} is a catalogue file of the profile {profile_name} ({described}), but profile check reads "
            f"those of events; give one like {profile.events.files}. What its rows describe shows in an ingested day."
        )
    with taken(location, profile, settings, rows) as sample:
        sample.judge(day)
        sections = [
            [_head(sample, profile_name)],
            ["Columns", *_table(_columns(sample), right=(2, 3, 4))],
            ["Event types", *_table(_event_types(sample), right=(1,))],
            ["What becomes of the rows", *_table(_outcomes(sample), right=(2, 3))],
            [f"Days of the shop ({settings.shop.timezone})", *_table(_days(sample), right=(1,))],
            ["Hints", *[f"- {hint}" for hint in hints_of(sample)]],
        ]
    return "\n\n".join("\n".join(section) for section in sections if len(section) > 1 or section[0] != "Hints")


def _names(pattern: str, location: str) -> bool:
    """Says whether a file is called as the pattern says, on whatever day."""
    name, named = location.rpartition("/")[2], pattern.rpartition("/")[2]
    return fnmatchcase(name, re.sub(r"\{[^}]*\}", "[0-9]*", named))


def _head(sample: Sample, profile_name: str) -> str:
    count = sample.count()
    judged = f"judged as rows of {sample.asked}" if sample.asked else "not judged"
    return f"{sample.file.name} as {profile_name} reads it: the first {count:,} rows, {judged}."


def _columns(sample: Sample) -> list[Sequence[Any]]:
    """Returns a row a canonical column, where it comes from and what it holds."""
    profile, judged = sample.profile, sample.judged
    lines: list[Sequence[Any]] = [("column", "from", "filled", "empty", "distinct", "least … most", "most common")]
    for name in EventColumns.model_fields:
        source = getattr(profile.events.columns, name)
        lines.append(_column(sample, name, name, source.column if source else NOTHING))
        if name == "item_id":
            lines.append(_column(sample, "event_type", "event_type", profile.events.event_type.column or "rules"))
    lines += [
        _column(sample, f"context's {name}", text_of(judged, column).get_name(), column.column)
        for name, column in profile.events.context.items()
    ]
    if profile.catalogue.files:
        return [
            *lines,
            ("items", profile.catalogue.files, "", "", "", "", "described in files of their own, not read here"),
        ]
    for name in DESCRIBED:
        if f"item_{name}" in judged.columns and (source := getattr(profile.catalogue.columns, name)):
            lines.append(_column(sample, f"item's {name}", f"item_{name}", source.column))
    return lines


def _column(sample: Sample, title: str, name: str, source: str) -> Sequence[Any]:
    judged = sample.judged
    value = judged[name]
    whole = judged.torn.isnull()
    question = judged.aggregate(
        rows=whole.sum(),
        filled=value.count(where=whole),
        distinct=value.nunique(),
        least=value.min(),
        most=value.max(),
    )
    (found,) = sample.ask(question)
    if source == NOTHING and not found["filled"]:
        return (title, source, NOTHING, "", "", "", "")
    counts = (_share(found["filled"], found["rows"]), f"{found['rows'] - found['filled']:,}", f"{found['distinct']:,}")
    if not found["filled"]:
        return (title, source, *counts[:2], "", "", "")
    if name in PEOPLE:
        hidden = sample.people[source]
        return (title, source, *counts, "", f"hidden; most look like {hidden.shape}")
    least_most = f"{shown(found['least'])} … {shown(found['most'])}" if not isinstance(found["least"], str) else ""
    common = ", ".join(shown(value) for value, _ in sample.most_common(value))
    return (title, source, *counts, least_most, common)


def _event_types(sample: Sample) -> list[Sequence[Any]]:
    """Returns a row a word of the log and what it became; words that became nothing come first."""
    types, judged = sample.profile.events.event_type, sample.judged
    word = judged[f"raw_{types.column}"] if types.column else ibis.literal("(by rules)")
    excluded = ibis.ifelse(judged.outcome == "excluded", "excluded: " + judged.rule, ibis.null("string"))
    counted = (
        judged.filter(judged.torn.isnull())
        .select(word=word, became=ibis.coalesce(judged.event_type, excluded))
        .group_by("word", "became")
        .agg(rows=lambda t: t.count())
    )
    ordered = sample.ask(counted.order_by([ibis.desc(counted.became.isnull()), ibis.desc("rows"), "word", "became"]))
    lines = [(types.column or "", "rows", "became")]
    lines += [
        (shown(r["word"]) if r["word"] else "(empty)", f"{r['rows']:,}", r["became"] or "nothing: not in the profile")
        for r in ordered[:MOST_WORDS]
    ]
    more = len(ordered) - MOST_WORDS
    return [*lines, (f"and {more:,} more words", "", "")] if more > 0 else lines


def _outcomes(sample: Sample) -> list[Sequence[Any]]:
    """Returns a row a rule that took rows, with the first places."""
    judged = sample.judged
    counted = {row["rule"]: row["rows"] for row in sample.ask(judged.group_by("rule").agg(rows=judged.count()))}
    total = sum(counted.values())
    lines: list[Sequence[Any]] = [("outcome", "rule", "rows", "share", "first", "why")]
    lines.append(("clean", "", f"{counted.get(None, 0):,}", _share(counted.get(None, 0), total), "", ""))
    places = _places(sample)
    for rule in sample.rules:
        if rows := counted.get(rule.name, 0):
            first = ", ".join(places[rule.name])
            lines.append((rule.outcome, rule.name, f"{rows:,}", _share(rows, total), first, rule.doc))
    return lines


def _places(sample: Sample) -> dict[str, list[str]]:
    taken_rows = sample.judged.filter(sample.judged.rule.notnull()).select("rule", "row_number", "byte_offset")
    nth = ibis.row_number().over(ibis.window(group_by=taken_rows.rule, order_by=taken_rows.row_number))
    numbered = taken_rows.mutate(nth=nth)
    found: dict[str, list[str]] = {}
    for row in sample.ask(numbered.filter(numbered.nth < PLACES).order_by(["rule", "row_number"])):
        byte = "" if row["byte_offset"] is None else f" (byte {row['byte_offset']:,})"
        found.setdefault(row["rule"], []).append(f"row {row['row_number']:,}{byte}")
    return found


def _days(sample: Sample) -> list[Sequence[Any]]:
    days = sorted(sample.days, key=lambda day: (-sample.days[day], day))
    lines: list[Sequence[Any]] = [("day", "rows")]
    lines += [(str(day), f"{sample.days[day]:,}") for day in sorted(days[:MOST_DAYS])]
    rest = days[MOST_DAYS:]
    lines += [(f"{len(rest):,} other days", f"{sum(sample.days[day] for day in rest):,}")] if rest else []
    timeless = sample.count(sample.judged.event_time.isnull())
    return [*lines, ("no readable time", f"{timeless:,}")] if timeless else lines


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else NOTHING


def _table(lines: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> list[str]:
    """Returns lines whose columns stand below each other; columns empty everywhere are left out."""
    rows = [[str(cell) for cell in line] for line in lines]
    kept = [n for n in range(len(rows[0])) if any(row[n] for row in rows[1:])]
    widths = {n: max(len(row[n]) for row in rows) for n in kept}
    return [
        "  " + "  ".join(row[n].rjust(widths[n]) if n in right else row[n].ljust(widths[n]) for n in kept).rstrip()
        for row in rows
    ]
