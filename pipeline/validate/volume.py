"""How many events a day lets expect: the trailing days' level times the weekday's factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from math import exp, log, sqrt
from statistics import median

SHRINKAGE_WEEKS = 2.0
"""How many weeks of a weekday weigh as much as the belief that it is like any other."""
LEAST_SPREAD = 0.05
"""A few days that happen to agree do not make the next one certain."""
MIN_WEEKS = 2
"""Seen less often, a weekday's volume is held against the wide limits alone, not against the usual spread."""
TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class Expected:
    """What the days before let expect of one.

    Attributes:
        rows: the middle.
        spread: of the logarithm of rows, for one further day.
        weeks: how many of the trailing days were the same weekday.
    """

    rows: float
    spread: float
    weeks: int

    def ratio(self, rows: int) -> float:
        return rows / self.rows

    def deviation(self, rows: int) -> float | None:
        """Returns how many spreads a volume is off, or None while the weekday is too little known."""
        return log(max(rows, 0.5) / self.rows) / self.spread if self.weeks >= MIN_WEEKS else None

    def band(self, spreads: float) -> tuple[float, float]:
        return self.rows * exp(-spreads * self.spread), self.rows * exp(spreads * self.spread)


def expect(trailing: Mapping[date, int], day: date) -> Expected:
    """Returns what to expect of a day.

    A multiplicative model, taken apart in logarithms and by medians, so that a bad trailing day moves nothing:
    y_d = ln rows_d; the first level is the median of y; the effect of weekday w is the median of y_d less that level
    over its n_w days, shrunk by n_w / (n_w + 2); the level is the median of y_d less its weekday's effect. Expected is
    exp(level + effect). The shrinkage is the posterior mean of a normal effect whose variance is half the noise's.
    The spread is the residuals' median absolute deviation as a standard deviation, at least 0.05, with Poisson's
    1 / rows added to its square, widened by sqrt(1 + 1 / n + 1 / (n_w + 2)) for what is not known of level and effect.

    Args:
        trailing: events of each open day of the window, each more than 0; not empty.

    Source: the classical decomposition (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 3.4)
        with medians for means; shrinkage after Efron and Morris 1975.
    """
    logs = {other: log(rows) for other, rows in trailing.items()}
    first = median(logs.values())
    effects = {weekday: _effect(logs, weekday, first) for weekday in range(7)}
    level = median(y - effects[other.weekday()] for other, y in logs.items())
    residuals = [abs(y - level - effects[other.weekday()]) for other, y in logs.items()]
    rows = exp(level + effects[day.weekday()])
    weeks = sum(other.weekday() == day.weekday() for other in logs)
    noise = sqrt(max(TO_SIGMA * median(residuals), LEAST_SPREAD) ** 2 + 1 / rows)
    return Expected(rows, noise * sqrt(1 + 1 / len(logs) + 1 / (weeks + SHRINKAGE_WEEKS)), weeks)


def _effect(logs: Mapping[date, float], weekday: int, level: float) -> float:
    own = [y - level for other, y in logs.items() if other.weekday() == weekday]
    return median(own) * len(own) / (len(own) + SHRINKAGE_WEEKS) if own else 0.0
