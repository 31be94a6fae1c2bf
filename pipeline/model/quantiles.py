"""Latency quantiles with intervals from a bootstrap over rounds, and over blocks within them.

Requests close in time are slow together, and a process may have bad luck with its core for as long as it lives; so
rounds of fresh processes are drawn first, then blocks of each drawn round.

Shapes: N rounds, B blocks a round, R requests a block, S resamples.
Source: Künsch 1989 on blocks; Davison & Hinkley 1997, section 3.8, on two-stage resampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.errors import DataError
from pipeline.model.statistics import Interval

SAMPLES = 1000


def quantile_interval(times_NBR: np.ndarray, quantile: float, confidence: float, seed: int) -> Interval:
    """Returns a quantile of all times with its two-sided interval."""
    (found_S,) = resampled_quantiles(times_NBR, [quantile], seed)
    return interval_of(float(np.quantile(times_NBR, quantile)), found_S, confidence, times_NBR.size)


def resampled_quantiles(times_NBR: np.ndarray, quantiles: Sequence[float], seed: int) -> np.ndarray:
    """Returns float64 [quantiles, S]; the same seed draws the same places, so two sides stay paired.

    Raises: DataError: there are no times, or one is no positive number.
    """
    _check(times_NBR)
    return np.quantile(_resampled(times_NBR, seed), quantiles, axis=1, overwrite_input=True)


def interval_of(value: float, found_S: np.ndarray, confidence: float, n: int) -> Interval:
    """Returns an estimate with the two-sided percentile interval of its resamples, which holds it.

    The quantile of few times lies at an end of what can be drawn, so resamples may all miss it.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(found_S, [tail, 1 - tail])
    return Interval(value, min(value, float(low)), max(value, float(high)), float(found_S.std(ddof=1)), n)


def _resampled(times_NBR: np.ndarray, seed: int) -> np.ndarray:
    rounds, blocks, _ = times_NBR.shape
    generator = np.random.default_rng(seed)
    round_SN = generator.integers(0, rounds, size=(SAMPLES, rounds))
    block_SNB = generator.integers(0, blocks, size=(SAMPLES, rounds, blocks))
    return times_NBR[round_SN[:, :, None], block_SNB].reshape(SAMPLES, -1)


def _check(times_NBR: np.ndarray) -> None:
    if times_NBR.ndim != 3 or not times_NBR.size:
        raise DataError("No request was timed; latency cannot be judged.")
    if not np.isfinite(times_NBR).all() or (times_NBR <= 0).any():
        raise DataError("A request's time is not a positive number of seconds; the measurement is broken.")
