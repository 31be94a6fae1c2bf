"""Shows what was refused: by rule, and row by row, where each lies in its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import MissingInputError, UsageError
from pipeline.core.settings import Settings
from pipeline.ingest.accounts import landed_of_run
from pipeline.ingest.profiles.profile import nearest
from pipeline.store.partitions import Partitions
from pipeline.store.shared import open_shared

ROWS_A_READ = 4096


def refused_days(settings: Settings, run_id: str = "", day: date | None = None) -> dict[str, Artifact]:
    """Returns, by day, what a run made of its files, or what is in force of one day.

    Raises: UsageError, MissingInputError: neither run nor day is given, or nothing landed there.
    """
    if run_id:
        landed = landed_of_run(settings.store.root.resolve(), run_id, open_shared(settings))
        if day and str(day) not in landed:
            raise MissingInputError(f"Run {run_id} has not ingested {day}; it has {', '.join(landed)}.")
        return {str(day): landed[str(day)]} if day else landed
    if day is None:
        raise UsageError("Say whose quarantine: --run RUN, --day DAY, or both.")
    records = Partitions.open(settings, "landed")
    record = records.read(day)
    if record is None:
        raise MissingInputError(f"{day} never landed; ingest it, or name the run that tried with --run RUN.")
    return {str(day): records.artifact(record)}


def told(days: Mapping[str, Artifact], rule: str = "", limit: int = 20) -> Iterator[str]:
    """Yields a table of the rules and their rows, then the rows themselves, at most `limit`.

    Raises: UsageError: there is no such rule.
    """
    counts = {day: artifact.json("counts.json") for day, artifact in days.items()}
    known = {name for day in counts.values() for name in day["rules"]}
    if rule and rule not in known:
        raise UsageError(f"There is no rule {rule}{nearest(rule, known)}")
    by_rule = _by_rule(days, rule)
    yield from (f"Over its budget: {day['over_budget']}" for day in counts.values() if day["over_budget"])
    rows = sum(day["rows"] for day in counts.values())
    yield f"{len(days)} {'day' if len(days) == 1 else 'days'}, {sum(by_rule.values()):,} of {rows:,} rows refused."
    if by_rule:
        yield "\n| rule | rows |\n|---|---:|"
        yield from (f"| {name} | {count:,} |" for name, count in by_rule.most_common())
    for row in islice(_rows(days, rule), limit):
        byte = "" if row["byte_offset"] is None else f", byte {row['byte_offset']:,}"
        place = f"{row['source_file']} row {row['row_number']:,}{byte}"
        yield f"\n{row['rule']}: {place}\n  {row['row']}"
    if sum(by_rule.values()) > limit:
        yield f"\n… and {sum(by_rule.values()) - limit:,} more; show them with --limit, or choose with --rule."


def _by_rule(days: Mapping[str, Artifact], rule: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for artifact in days.values():
        rules = pq.read_table(artifact.file("quarantine.parquet"), columns=["rule"])["rule"]
        found.update({group["values"]: group["counts"] for group in rules.value_counts().to_pylist()})
    return Counter({name: count for name, count in found.items() if rule in ("", name)})


def _rows(days: Mapping[str, Artifact], rule: str) -> Iterator[dict[str, Any]]:
    for _, artifact in sorted(days.items()):
        with pq.ParquetFile(artifact.file("quarantine.parquet")) as file:
            for batch in file.iter_batches(ROWS_A_READ):
                chosen = batch.filter(pc.equal(batch.column("rule"), rule)) if rule else batch
                yield from chosen.to_pylist()
