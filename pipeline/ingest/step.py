"""Turns each day's raw logs into one artifact: events, routed events, quarantine, catalogue and counts."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.errors import UsageError
from pipeline.core.progress import progress
from pipeline.core.run import Run
from pipeline.core.settings import Settings
from pipeline.core.step import Report
from pipeline.ingest.day import Ingestion
from pipeline.store.engine import open_engine


def run(settings: Settings, run: Run) -> Report:
    """Ingests every day of the run; days whose files, profile and settings did not change are not read again.

    Raises:
        UsageError: no source, or a profile that makes no sense.
        MissingInputError: an open day has no file.
        DataError: a file is not what its profile says, or too many of its rows were refused.
    """
    if not settings.ingest.source:
        raise UsageError("There is no source of logs; set ingest.source to a folder or an s3:// prefix.")
    reports: list[Report] = []
    with open_engine(settings) as opened, progress("ingest", len(run.days), "days") as shown:
        ingestion = Ingestion(settings, opened)
        for day in run.days:
            asked = ingestion.asked(day, run.as_of)
            found = ingestion.find(asked)
            report = run.once(
                "ingest",
                ingestion.inputs(asked, found),
                settings.keyed("ingest"),
                lambda folder, asked=asked, found=found: ingestion.fill(folder, asked, found),
                part=str(day),
            )
            reports.append(report)
            shown.advance(1, rows=sum(r.counts["rows"] for r in reports))
    return _together(run, reports)


def _together(run: Run, reports: Sequence[Report]) -> Report:
    if len(reports) == 1:
        return reports[0]
    counts = {name: sum(report.counts[name] for report in reports) for name in reports[0].counts}
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count and name != "rows")
    warned = [report.sentence for report in reports if "WARNING" in report.sentence]
    warning = f" {len(warned)} days with warnings, such as {warned[0]}" if warned else ""
    sentence = f"{run.days}: {len(reports)} days, {counts['rows']:,} rows: {told}.{warning}"
    return Report(sentence, counts, cached=all(report.cached for report in reports))
