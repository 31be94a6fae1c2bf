"""Speed and memory of every recipe's bundle, into its row."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.settings import Settings
from pipeline.model.recipe_table import YARDSTICK
from pipeline.optimize.judged import Judged
from pipeline.optimize.measuring import latency, memory
from pipeline.optimize.measuring.latency import Timing
from pipeline.optimize.measuring.row import Row


def measure(
    rows: Sequence[Row], bundles: Mapping[str, Path], judged: Judged, settings: Settings
) -> tuple[list[Row], Timing]:
    """Returns the rows with speed and memory, those without a bundle as they are, and the times themselves.

    Raises: UnavailableError: a measuring process ended without an answer.
    """
    calls, k = settings.optimize.latency_requests, settings.shop.k
    with tempfile.TemporaryDirectory() as scratch:
        timing = latency.measure(bundles, YARDSTICK, judged, calls, k, Path(scratch))
    return [_filled(row, bundles[row.recipe], timing, k) if row.recipe in bundles else row for row in rows], timing


def _filled(row: Row, bundle: Path, timing: Timing, k: int) -> Row:
    found = memory.measure(bundle, k)
    held = replace(row, memory_mb=found.settled, peak_memory_mb=found.peak, plain_memory_mb=found.plain)
    return timed(held, timing)


def timed(row: Row, timing: Timing) -> Row:
    """Returns the row with what the timing says of it."""
    if row.recipe not in timing.times_ms:
        return row
    p50, p99 = (timing.quantile(row.recipe, quantile) for quantile in (0.5, 0.99))
    return replace(
        row,
        p50_ms=p50.mean,
        p99_ms=p99.mean,
        cpu_ms=timing.mean(row.recipe),
        p50_interval=p50,
        p99_interval=p99,
        p50_ratio=timing.ratio(row.recipe, YARDSTICK, 0.5),
        p99_ratio=timing.ratio(row.recipe, YARDSTICK, 0.99),
    )
