"""Cuts the window of published days into a training set, validation and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

from pipeline.core.days import end_of_day
from pipeline.core.errors import DataError
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.settings import Prepare, Settings
from pipeline.core.step import Report
from pipeline.prepare import files
from pipeline.prepare.evidence import Evidence
from pipeline.prepare.leak import assert_no_leak
from pipeline.prepare.log import Log, read_log
from pipeline.prepare.queries import EvaluationQuery, Period, draw_queries
from pipeline.prepare.split import Split, cut_by_time, microseconds, start_of
from pipeline.prepare.training import Training, build_training
from pipeline.prepare.window import Partition, published_window
from pipeline.store.engine import open_engine

STAGE = "prepare"


def run(settings: Settings, run: Run) -> Report:
    """Raises: MissingInputError, DataError: nothing published, too few days, or a period without queries."""
    partitions = published_window(run, settings.prepare.window_days)
    inputs = {f"ingest {partition.day}": partition.artifact.key for partition in partitions}
    sections = {**settings.keyed(STAGE), "timezone": settings.shop.timezone}
    return run.once(STAGE, inputs, sections, lambda folder: _prepare(settings, partitions, folder))


def _prepare(settings: Settings, partitions: Sequence[Partition], folder: Path) -> Report:
    wanted, timezone = settings.prepare, settings.shop.timezone
    days = [partition.day for partition in partitions if partition.rows]
    with progress("prepare", 4, "parts") as bar, open_engine(settings) as engine:
        log = read_log(engine, partitions, start_of(partitions[0].day, timezone), end_of_day(days[-1], timezone))
        bar.advance(events=len(log))
        evidence = Evidence.of(log, wanted.answer_minutes)
        split = _cut(evidence, days, wanted, timezone)
        training = build_training(evidence, microseconds(split.validation_start), wanted.min_item_events)
        bar.advance(sequences=len(training.offsets) - 1)
        periods = {"validation": (split.validation_start, split.test_start), "test": (split.test_start, split.test_end)}
        queries = {name: _draw(evidence, period, wanted) for name, period in periods.items()}
        bar.advance(queries=sum(map(len, queries.values())))
        assert_no_leak(training, queries["validation"], queries["test"], log, split)
        counts = _counts(log, training, queries)
        _refuse_emptiness(counts, split)
        files.write_sequences(folder, training)
        before = [partition for partition in partitions if start_of(partition.day, timezone) < split.validation_start]
        described = files.describe_items(engine, before, split.validation_start)
        files.write_items(folder / "items.parquet", training, log, described)
        for name, drawn in queries.items():
            files.write_queries(folder / f"{name}.parquet", drawn, log)
        files.write_split(folder / "split.json", split, counts)
        bar.advance()
    return Report(_sentence(counts, split), counts)


def _cut(evidence: Evidence, days: Sequence[date], wanted: Prepare, timezone: str) -> Split:
    def count(start: datetime, end: datetime) -> int:
        period = Period(microseconds(start), microseconds(end))
        return len(draw_queries(evidence, period, 1, wanted.min_test_queries))

    return cut_by_time(days, wanted, timezone, count)


def _draw(evidence: Evidence, period: tuple[datetime, datetime], wanted: Prepare) -> list[EvaluationQuery]:
    start, end = map(microseconds, period)
    return draw_queries(evidence, Period(start, end), wanted.query_events, wanted.max_evaluation_queries)


def _counts(log: Log, training: Training, queries: Mapping[str, Sequence[EvaluationQuery]]) -> dict[str, int]:
    counts = {
        "events": len(log),
        "training_events": len(training.items),
        "sequences": len(training.offsets) - 1,
        "targets": len(training.targets),
        "targets_with_search": int((training.target_queries >= 0).sum()),
        "items": len(training.vocabulary),
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
    return (
        f"{counts['events']:,} events of {split.first} to {split.last}: {counts['sequences']:,} sequences with "
        f"{counts['targets']:,} targets on {counts['items']:,} items, {counts['validation_queries']:,} validation "
        f"queries from {split.validation_start:%Y-%m-%d %H:%M} UTC, {counts['test_queries']:,} test queries from "
        f"{split.test_start:%Y-%m-%d %H:%M} UTC."
    )
