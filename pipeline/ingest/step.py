"""Turns raw logs into partitions: each day's files land as one artifact, then the days they hold rows for settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.core.errors import DataError, UsageError
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest.accounts import LANDED
from pipeline.ingest.day import Ingestion
from pipeline.ingest.histories import fill_after
from pipeline.ingest.landing import Landed, Landing
from pipeline.ingest.settling import Settled, Settling
from pipeline.store.engine import open_engine
from pipeline.store.histories import Histories
from pipeline.store.partitions import STAGE

MOST_FILES = 5
AS_OF = " Marked as-of: what had landed stays as it was."


def run(settings: Settings, run: Run) -> Report:
    """Lands every day of the run and settles what changed; days whose inputs did not change are not read again.

    Raises:
        UsageError: no source, or a profile that makes no sense.
        MissingInputError: an open day has no file.
        BusyError: another run is at work on one of the days.
        DataError: a file is not what its profile says, or a day is over its budget; the other days landed.
    """
    if not settings.ingest.source:
        raise UsageError("There is no source of logs; set ingest.source to a folder or an s3:// prefix.")
    histories = Histories.open(settings)
    with open_engine(settings) as engine:
        ingestion = Ingestion(settings, engine)
        landed = _land(Landing(settings, run, ingestion), run)
        in_force = {day.day: day.record for day in landed if day.record and not day.over_budget}
        settled = Settling(settings, run, engine).settle(in_force)
    run.refer_all(STAGE, settled.keys)
    filled = fill_after(settings, run, histories, settled.keys)
    over = [day.over_budget for day in landed if day.over_budget]
    if over:
        raise DataError(_refusal(over, run) + filled)
    report = _together(run, [day.report for day in landed], settled)
    told = _told_of_files(ingestion.spanning.told(run.days)) + (AS_OF if run.backfill else "")
    return replace(report, sentence=report.sentence + told + filled)


def _land(landing: Landing, run: Run) -> list[Landed]:
    landed: list[Landed] = []
    try:
        with progress(STAGE, len(run.days), "days") as shown:
            for day in run.days:
                landed.append(landing.land(day))
                shown.advance(1, rows=sum(each.report.counts["rows"] for each in landed))
    finally:
        run.refer_all(STAGE, {str(each.day): each.key for each in landed}, LANDED)
    return landed


def _refusal(over: Sequence[str], run: Run) -> str:
    more = (
        f" {len(over)} of the {len(run.days)} days are over their budget, the others landed."
        if len(run.days) > 1
        else ""
    )
    return f"{over[0]}{more} Look at the rows with `python -m pipeline quarantine --run {run.run_id}`."


def _together(run: Run, reports: Sequence[Report], settled: Settled) -> Report:
    counts = {name: sum(report.counts[name] for report in reports) for name in reports[0].counts}
    if len(reports) == 1:
        sentence = reports[0].sentence
    else:
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count and name != "rows")
        warned = [report.sentence for report in reports if "WARNING" in report.sentence]
        warning = f" {len(warned)} days with warnings, such as {warned[0]}" if warned else ""
        sentence = f"{run.days}: {len(reports)} days, {counts['rows']:,} rows: {told}.{warning}"
    counts |= {
        "late": settled.late_rows,
        "reopened_days": len(settled.reopened),
        "waiting": sum(settled.waiting.values()),
    }
    cached = settled.cached and all(report.cached for report in reports)
    return Report(sentence + _told_of(settled), counts, cached=cached)


def _told_of(settled: Settled) -> str:
    told = ""
    if settled.reopened:
        told += f" {_days_of(settled.reopened, 'other day')} re-opened: {_listed(settled.reopened)}."
    if settled.waiting:
        told += f" Rows wait for {_days_of(settled.waiting, 'day')} that never landed: {_listed(settled.waiting)}."
    return told


def _told_of_files(told: Sequence[str]) -> str:
    """Returns where all rows are of the files that cover more than a day."""
    more = [f"{len(told) - MOST_FILES} more files"] if len(told) > MOST_FILES else []
    return "".join(f" {each}." for each in (*told[:MOST_FILES], *more))


def _days_of(days: dict[str, int], what: str) -> str:
    return f"{len(days)} {what}{'s' if len(days) > 1 else ''}"


def _listed(days: dict[str, int]) -> str:
    shown = [f"{day} ({rows:,} {'row' if rows == 1 else 'rows'})" for day, rows in days.items()]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
