"""Cuts the window of published days into a training set, validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.core.days import end_of_day, start_of_day
from pipeline.core.errors import DataError
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.sections import Prepare
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.prepare import files
from pipeline.prepare.candidates import Period, find_candidates
from pipeline.prepare.evidence import Evidence
from pipeline.prepare.exposures import read_exposures, write_exposed
from pipeline.prepare.leak import assert_known_by, assert_no_leak, assert_own_days, assert_shown_before
from pipeline.prepare.log import Log, read_log
from pipeline.prepare.queries import EvaluationQuery, draw_queries
from pipeline.prepare.split import NIGHTS_OF_A_WEEK, Split, cut_by_time, microseconds
from pipeline.prepare.training import Training, build_training, tally, target_rows
from pipeline.prepare.vocabulary import NOBODY, Base, grow, newest_base, point_to
from pipeline.prepare.window import Partition, published_window
from pipeline.store.engine import Engine, open_engine
from pipeline.store.partitions import Partitions

if TYPE_CHECKING:
    import pyarrow as pa

STAGE = "prepare"


def run(settings: Settings, run: Run) -> Report:
    """Raises: MissingInputError, DataError: nothing published, too few days, a period without queries, or a leak."""
    published, vocabularies = (Partitions.open(settings, kind) for kind in ("published", "vocabulary"))
    partitions = published_window(run, published, settings.prepare.window_days, settings.shop.timezone)
    base = newest_base(run, vocabularies)
    inputs = {f"ingest {partition.day}": partition.artifact.key for partition in partitions}
    inputs |= {f"vocabulary {base.day}": base.digest} if base else {}
    sections = {**settings.keyed(STAGE), "timezone": settings.shop.timezone}
    report = run.once(STAGE, inputs, sections, lambda folder: _prepare(settings, partitions, base, folder))
    if not (run.backfill or run.dry_run):
        point_to(run, vocabularies, run.artifact(STAGE))
    return report


def _prepare(settings: Settings, partitions: Sequence[Partition], base: Base | None, folder: Path) -> Report:
    wanted, timezone = settings.prepare, settings.shop.timezone
    days = [partition.day for partition in partitions if partition.rows]
    with (
        progress("prepare", 5, "parts") as bar,
        open_engine(settings) as engine,
        TemporaryDirectory(dir=folder, prefix=".log-") as scratch,
    ):
        assert_own_days(engine, partitions, timezone)
        log = read_log(engine, partitions, Path(scratch))
        bar.advance(events=len(log))
        evidence = Evidence.of(log, wanted.answer_minutes)
        split = _cut(evidence, days, wanted, timezone)
        bar.advance()
        base = base if base and base.learned_until <= split.validation_start else None
        before = [each for each in partitions if start_of_day(each.day, timezone) < split.validation_start]
        described = files.describe_items(engine, before, split.validation_start)
        assert_known_by(split, described, base)
        listed = files.listed_items(described, before, wanted.listed_days)
        training = _train(evidence, split, base, listed, wanted, folder)
        bar.advance(sequences=len(training.offsets) - 1)
        queries = _draw(evidence, split, wanted)
        bar.advance(queries=sum(map(len, queries.values())))
        assert_no_leak(training, queries["validation"], queries["test"], log, split, described)
        exposed = _expose(engine, partitions, evidence, training, split, Path(scratch), folder)
        counts = {**_counts(log, training, queries), "exposed_items": exposed}
        _refuse_emptiness(counts, split)
        files.write_items(folder / "items.parquet", training, described, split.validation_start)
        files.write_texts(folder / "queries.json", training.queries)
        files.write_texts(folder / "contexts.json", training.context_texts)
        for name, drawn in queries.items():
            files.write_queries(folder / f"{name}.parquet", drawn, log)
        grown_from = {"day": str(base.day), "prepare_key": base.artifact.key} if base else None
        files.write_split(folder / "split.json", split, counts, grown_from)
        bar.advance()
    return Report(_sentence(counts, split), counts)


def _cut(evidence: Evidence, days: Sequence[date], wanted: Prepare, timezone: str) -> Split:
    earliest = start_of_day(days[-min(wanted.max_test_days + NIGHTS_OF_A_WEEK, len(days))], timezone)
    recent = evidence.rows_between(microseconds(earliest), microseconds(end_of_day(days[-1], timezone)))

    def count(start: datetime, end: datetime) -> int:
        return len(find_candidates(evidence, Period(microseconds(start), microseconds(end)), recent))

    return cut_by_time(days, wanted, timezone, count)


def _train(
    evidence: Evidence, split: Split, base: Base | None, listed: pa.Array, wanted: Prepare, folder: Path
) -> Training:
    end_us = microseconds(split.validation_start)
    forgotten = timedelta(days=wanted.forget_item_days)
    counted = tally(evidence, end_us, microseconds(split.validation_start - forgotten) if forgotten else 0)
    known = base.items() if base else NOBODY
    vocabulary = grow(evidence.log.items, counted.events, counted.recent, wanted.min_item_events, known, listed)
    return build_training(evidence, end_us, vocabulary, counted, folder)


def _expose(
    engine: Engine,
    partitions: Sequence[Partition],
    evidence: Evidence,
    training: Training,
    split: Split,
    scratch: Path,
    folder: Path,
) -> int:
    """Writes what was shown before each target and not chosen, and returns how much that is."""
    index = training.vocabulary.indices(len(evidence.log.items))
    (scratch / "shown").mkdir()
    shown = read_exposures(engine, partitions, index, split.validation_start, scratch / "shown")
    assert_shown_before(shown, split)
    end_us = microseconds(split.validation_start)
    targets = partial(target_rows, evidence, end_us, index)
    return write_exposed(shown, evidence.log, targets, len(training.targets), folder)


def _draw(evidence: Evidence, split: Split, wanted: Prepare) -> dict[str, list[EvaluationQuery]]:
    start_us, middle_us, end_us = map(microseconds, (split.validation_start, split.test_start, split.test_end))
    recent = evidence.rows_between(start_us, end_us)
    periods = {"validation": Period(start_us, middle_us), "test": Period(middle_us, end_us)}
    most = wanted.max_evaluation_queries
    return {name: draw_queries(evidence, each, wanted.query_events, most, recent) for name, each in periods.items()}


def _counts(log: Log, training: Training, queries: Mapping[str, Sequence[EvaluationQuery]]) -> dict[str, int]:
    counts = {
        "events": len(log),
        "training_events": len(training.items),
        "sequences": len(training.offsets) - 1,
        "targets": len(training.targets),
        "targets_with_search": int((training.target_queries >= 0).sum()),
        "items": len(training.vocabulary),
        **training.vocabulary.counts(),
        "items_listed_only": int((training.events == 0).sum()),
    }
    for name, drawn in queries.items():
        counts[f"{name}_queries"] = len(drawn)
        counts[f"{name}_searches"] = sum(query.kind == "search" for query in drawn)
        counts[f"{name}_with_new_targets"] = sum(len(query.new_targets) > 0 for query in drawn)
    return counts


def _refuse_emptiness(counts: Mapping[str, int], split: Split) -> None:
    """Raises: DataError: a part holds nothing to learn from or to judge by."""
    parts = {
        "targets": f"training ({split.first} until {split.validation_start})",
        "validation_queries": f"validation ({split.validation_start} until {split.test_start})",
        "test_queries": f"test ({split.test_start} until {split.test_end})",
    }
    for count, part in parts.items():
        if not counts[count]:
            raise DataError(
                f"The {part} holds no view, cart or purchase that could be a target; widen prepare.window_days, "
                f"prepare.validation_days or prepare.max_test_days, or ingest days that hold some."
            )


def _sentence(counts: Mapping[str, int], split: Split) -> str:
    items = (
        f"{counts['items']:,} items ({counts['items_kept']:,} kept, {counts['items_new']:,} new, "
        f"{counts['items_left']:,} left, {counts['items_moved']:,} moved, {counts['items_listed_only']:,} listed only)"
    )
    return (
        f"{counts['events']:,} events of {split.first} to {split.last}: {counts['sequences']:,} sequences with "
        f"{counts['targets']:,} targets on {items}, {counts['validation_queries']:,} validation queries from "
        f"{split.validation_start:%Y-%m-%d %H:%M} UTC, {counts['test_queries']:,} test queries from "
        f"{split.test_start:%Y-%m-%d %H:%M} UTC."
    )
