"""How far a day's distribution lies from that of the trailing days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log, log2
from statistics import median

PSEUDO_COUNT = 0.5
"""Added to every bin of both sides (Jeffreys' prior), so that an empty bin makes a figure large, not infinite."""


def pooled(days: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Returns the trailing days' rows by bin; a day larger than their median weighs no more than it.

    Otherwise one day told five times over would be the window.
    """
    sizes = [sum(bins.values()) for bins in days]
    usual = median(sizes) if sizes else 0
    total: dict[str, float] = {}
    for bins, size in zip(days, sizes, strict=True):
        weight = min(1.0, usual / size) if size else 0.0
        for name, count in bins.items():
            total[name] = total.get(name, 0.0) + weight * count
    return total


def psi(today: Mapping[str, int], trailing: Mapping[str, float]) -> float:
    """Returns the population stability index, 0 where both agree: sum over bins of (p - q) ln(p / q).

    p are today's shares, q the trailing ones, both smoothed by `PSEUDO_COUNT` a bin. Without any drift its mean
    is about (bins - 1) (1 / n + 1 / m) with n and m the rows on either side, so a small sample must not be judged;
    common readings are stable below 0.1 and shifted above 0.25.

    Source: Siddiqi, Credit Risk Scorecards, 2006; mean under no drift: Yurdakul and Naranjo, Statistical properties of
        the population stability index, Journal of Risk Model Validation 14 (2020).
    """
    return sum((p - q) * log(p / q) for p, q in _shares(today, trailing))


def js_divergence(today: Mapping[str, int], trailing: Mapping[str, float]) -> float:
    """Returns the Jensen-Shannon divergence in bits, 0 to 1: H((p + q) / 2) - (H(p) + H(q)) / 2, smoothed like `psi`.

    Source: Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37 (1991).
    """
    pairs = _shares(today, trailing)
    return sum((p * log2(2 * p / (p + q)) + q * log2(2 * q / (p + q))) / 2 for p, q in pairs)


MEASURES = {"psi": psi, "js_divergence": js_divergence}


def _shares(today: Mapping[str, int], trailing: Mapping[str, float]) -> list[tuple[float, float]]:
    names = [name for name in today.keys() | trailing.keys() if today.get(name) or trailing.get(name)]
    n = sum(today.values()) + PSEUDO_COUNT * len(names)
    m = sum(trailing.values()) + PSEUDO_COUNT * len(names)
    return [
        ((today.get(name, 0) + PSEUDO_COUNT) / n, (trailing.get(name, 0.0) + PSEUDO_COUNT) / m)
        for name in sorted(names)
    ]
