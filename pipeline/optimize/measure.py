"""Speed and memory of every recipe's bundle, into its row."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.settings import Settings
from pipeline.optimize import latency, memory
from pipeline.optimize.choose import Row, timed
from pipeline.optimize.judged import Judged
from pipeline.optimize.latency import Timing
from pipeline.optimize.recipes import YARDSTICK


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
