"""From the rounds of `serve` to claims and tables.

Shapes: N rounds, B blocks a round, R requests a block, S resamples.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.claims import Claim, judged_values
from benchmarks.serve_contestants import OURS, OURS_COMPRESSED, PEERS
from benchmarks.serve_kept import Round, key
from benchmarks.serve_rounds import CLIENT_RATE, CLOSED_CONNECTIONS, OVERLOAD, SHARES
from pipeline.core.prices import Cost
from pipeline.model.cost import core_seconds_per_million, eur_per_million
from pipeline.model.quantiles import interval_of, quantile_interval, resampled_quantiles
from pipeline.model.statistics import Interval

CAPACITY_GOALS = {
    (10_000, "mlflow"): ">= 8",
    (10_000, "fastapi"): ">= 2",
    (100_000, "mlflow"): ">= 4",
    (100_000, "fastapi"): ">= 1.4",
}
NO_WORSE, AT_LEAST, STEADY, SWAP, COST, FLAT, NONE = "<= 1", ">= 1", "<= 3", "<= 2", "<= 0.125", "<= 1.01", "<= 0"
BLOCK, CONFIDENCE, SEED, SAMPLES = 25, 0.95, 31, 2000
QUANTILES = (0.5, 0.95, 0.99)
SETTLED = 0.2
"""This share of a soak, its beginning, is not looked at: what is kept for reuse has to be filled once."""
TITLES = {each.name: each.title for each in (OURS, OURS_COMPRESSED, *PEERS.values())}
Pieces = Mapping[str, Sequence[Round]]
"""By peer; ours took turns with each."""


def load_claims(items: int, pieces: Pieces) -> list[Claim]:
    claims = []
    for peer, rounds in pieces.items():
        goal = CAPACITY_GOALS.get((items, peer), AT_LEAST)
        for name, what, unit in (
            ("rate", "requests a second and core", "requests/s"),
            ("cpu_ms", "CPU a request", "ms"),
        ):
            values = [[each.facts[who][name] for each in rounds] for who in ("ours", peer)]
            said = f"{items:,} items: {what}, beside {TITLES[peer]}"
            claims.append(judged_values(said, *values, unit, goal, inverted=name == "cpu_ms"))
    if pooled := _blocks([each for rounds in pieces.values() for each in rounds], "ours", SHARES[1]):
        (p50, p99), drawn = _quantiles(pooled[0], (0.5, 0.99))
        ratio = interval_of(p99 / p50, drawn[1] / drawn[0], CONFIDENCE, 0)
        claims.append(
            _claim(f"{items:,} items: p99 at {SHARES[1]:.0%} load, beside p50", p99, p50, "ms", ratio, STEADY)
        )
    for share, said in ((SHARES[1], f"p99 at {SHARES[1]:.0%} of each one's most"), (OVERLOAD, "p99 of what is "
                        f"answered at {OVERLOAD:.0%} of each one's most")):  # fmt: skip
        claims += _p99_claims(items, pieces, share, said)
    return claims


def _p99_claims(items: int, pieces: Pieces, share: float, said: str) -> list[Claim]:
    claims = []
    for peer, rounds in pieces.items():
        sides = [_blocks(rounds, who, share) for who in ("ours", peer)]
        if not all(sides):
            continue
        (mine, mine_S), (theirs, theirs_S) = (_quantiles(side[0], (0.99,)) for side in sides)
        ratio = interval_of(mine[0] / theirs[0], mine_S[0] / theirs_S[0], CONFIDENCE, 0)
        what = f"{items:,} items: {said}, beside {TITLES[peer]}"
        claims.append(_claim(what, mine[0], theirs[0], "ms", ratio, NO_WORSE))
    return claims


def cost_claim(items: int, rounds: Sequence[Round], prices: Cost) -> Claim:
    euros = [
        [eur_per_million(each.facts[who]["cpu_ms"], prices) for each in rounds] for who in ("compressed", "mlflow")
    ]
    said = f"{items:,} items: compute for a million requests, compressed, beside the float SavedModel behind MLflow"
    return judged_values(said, *euros, "EUR", COST)


def swap_claims(items: int, rounds: Sequence[Round]) -> list[Claim]:
    facts = [each.facts["swap"] for each in rounds]
    failed, asked = sum(each["failed"] + each["stale"] for each in facts), sum(each["during"] for each in facts)
    share = failed / asked
    said = f"{items:,} items: requests during swaps that failed, or the old bundle answered after the new"
    during, outside = ([each[name] for each in facts] for name in ("during_ms", "outside_ms"))
    return [
        Claim(said, failed, asked, "requests", share, share, share, NONE, failed == 0),
        judged_values(f"{items:,} items: p99 while bundles are swapped, beside otherwise", during, outside, "ms", SWAP),
    ]


def soak_claim(items: int, made: Round) -> Claim:
    """Holds memory at the end of the soak against its beginning, both as a straight line through it has them."""
    low, at, high, begin = memory_ratio(made)
    facts = made.facts["soak"]
    said = f"{items:,} items: memory after {facts['minutes']:g} minutes and {facts['swaps']} swaps, beside at first"
    return _claim(said, begin * at, begin, "MB", Interval(at, low, high, 0.0, 0), FLAT)


def memory_ratio(made: Round) -> tuple[float, float, float, float]:
    """Returns the ratio's interval around it, low, itself, high; and MB at the beginning.

    One point a time between two swaps, its median, for a swap holds two bundles for a moment; points are drawn anew.
    """
    seconds, sequence, mb = (made.times[name] for name in ("seconds", "sequence", "mb"))
    kept = seconds >= SETTLED * seconds[-1]
    points = [(np.median(seconds[rows]), np.median(mb[rows])) for number in np.unique(sequence[kept])
              if (rows := kept & (sequence == number)).any()]  # fmt: skip
    times_P, mb_P = np.array(points if len(points) > 2 else np.stack([seconds[kept], mb[kept]], axis=1)).T
    ends = np.array([seconds[kept][0], seconds[-1]])

    def ends_of(rows_P: np.ndarray) -> np.ndarray:
        if len(np.unique(times_P[rows_P])) < 2:
            return np.full(2, mb_P[rows_P].mean())
        slope, level = np.polyfit(times_P[rows_P], mb_P[rows_P], 1)
        return slope * ends + level

    draw = np.random.default_rng(SEED)
    drawn = [ends_of(draw.integers(0, len(times_P), len(times_P))) for _ in range(SAMPLES)]
    first, last = ends_of(np.arange(len(times_P)))
    found = interval_of(last / first, np.array([end / begin for begin, end in drawn]), CONFIDENCE, len(times_P))
    return found.low, found.mean, found.high, float(first)


def client_claim(rounds: Sequence[Round]) -> Claim:
    rates = [each.facts["client"]["rate"] for each in rounds]
    said = "the load client on one core, asking a server that does nothing, beside what it must be able to"
    return judged_values(said, rates, [CLIENT_RATE] * len(rates), "requests/s", AT_LEAST)


def _claim(said: str, ours: float, peer: float, unit: str, ratio: Interval, goal: str) -> Claim:
    sign, bound = goal.split()
    holds = ratio.high <= float(bound) if sign == "<=" else ratio.low >= float(bound)
    figures = (round(float(value), 4) for value in (ours, peer))
    return Claim(said, *figures, unit, *(round(float(v), 4) for v in (ratio.mean, ratio.low, ratio.high)), goal, holds)


def _blocks(rounds: Iterable[Round], who: str, share: float) -> list[np.ndarray]:
    """Returns milliseconds [N, B, R], rounds cut to the shortest; nothing where there is too little."""
    times = [found for each in rounds if (found := each.times.get(key(who, share))) is not None and len(found)]
    shortest = min((len(each) for each in times), default=0)
    if shortest < 2:
        return []
    size = min(BLOCK, shortest // 2)
    return [np.stack([each[: shortest // size * size].reshape(-1, size) for each in times]).astype(np.float64)]


def _quantiles(times_NBR: np.ndarray, quantiles: Sequence[float]) -> tuple[list[float], np.ndarray]:
    """Returns them and their resamples [quantiles, S]."""
    return np.quantile(times_NBR, quantiles).tolist(), resampled_quantiles(times_NBR, quantiles, SEED)


def load_tables(items: int, pieces: Pieces) -> list[str]:
    """Returns what each can do at most, and how long it takes below and above that."""
    sides = {"ours": [each for rounds in pieces.values() for each in rounds], **pieces}
    head = f"{items:,} items, {CLOSED_CONNECTIONS} connections in a closed loop, one core"
    lines = [head, "", "| | requests/s | least … most | CPU ms a request | ready, s | memory, MB | items as ours |"]
    lines.append("|---|---:|---|---:|---:|---:|---:|")
    for who, rounds in sides.items():
        facts = [each.facts[who] for each in rounds]
        rates = [each["rate"] for each in facts]
        cpu, ready, memory, same = (statistics.median(each[name] for each in facts)
                                    for name in ("cpu_ms", "start_seconds", "memory_mb", "shared"))  # fmt: skip
        span = f"{min(rates):,.0f} … {max(rates):,.0f}"
        lines.append(
            f"| {TITLES[who]} | {statistics.median(rates):,.0f} | {span} | {cpu:.3f} | {ready:.1f} | {memory:,.0f} "
            f"| {same:.1%} |"
        )
    return ["\n".join(lines), _open_table(items, sides)]


def _open_table(items: int, sides: Pieces) -> str:
    head = f"{items:,} items, an open loop at shares of what each can do at most; milliseconds of what was answered"
    lines = [head, "", "| | load | asked/s | answered/s | p50 | p95 | p99 | refused | unanswered |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for who, rounds in sides.items():
        for share in (*SHARES, OVERLOAD):
            facts = [each.facts[who]["open"][str(share)] for each in rounds]
            found = _blocks(rounds, who, share)
            spans = [_told(quantile_interval(found[0], q, CONFIDENCE, SEED)) if found else "" for q in QUANTILES]
            names = ("asked_rate", "answered_rate", "refused_share", "unanswered_share")
            asked, answered, refused, lost = (statistics.median(each[name] for each in facts) for name in names)
            lines.append(
                f"| {TITLES[who]} | {share:.0%} | {asked:,.0f} | {answered:,.0f} | {' | '.join(spans)} "
                f"| {refused:.1%} | {lost:.1%} |"
            )
    return "\n".join(lines)


def _told(span: Interval) -> str:
    return f"{span.mean:.2f} ({span.low:.2f} … {span.high:.2f})"


def memory_table(sizes: Mapping[int, Pieces]) -> str:
    """Returns what 100,000 items more take, from one size to the next; nothing for one size."""
    held: dict[str, dict[int, float]] = {}
    for items, pieces in sorted(sizes.items()):
        for peer, rounds in pieces.items():
            for who in ("ours", peer):
                held.setdefault(who, {})[items] = statistics.median(each.facts[who]["memory_mb"] for each in rounds)
    lines = ["Memory that 100,000 items more take, MB", "", "| | from | to | MB |", "|---|---:|---:|---:|"]
    for who, by_items in held.items():
        known = sorted(by_items)
        for less, more in pairwise(known):
            grown = (by_items[more] - by_items[less]) / (more - less) * 100_000
            lines.append(f"| {TITLES[who]} | {less:,} | {more:,} | {grown:,.1f} |")
    return "\n".join(lines) if len(lines) > 4 else ""


def cost_table(sizes: Mapping[int, Sequence[Round]], prices: Cost) -> str:
    lines = [
        "A million requests",
        "",
        "| items | | core-seconds | compute, EUR | memory, MB |",
        "|---:|---|---:|---:|---:|",
    ]
    for items, rounds in sorted(sizes.items()):
        for who in ("compressed", "mlflow"):
            cpu, memory = (
                statistics.median(each.facts[who][name] for each in rounds) for name in ("cpu_ms", "memory_mb")
            )
            seconds, euros = core_seconds_per_million(cpu), eur_per_million(cpu, prices)
            lines.append(f"| {items:,} | {TITLES[who]} | {seconds:,.0f} | {euros:.4f} | {memory:,.0f} |")
    return "\n".join(lines)


def swap_table(sizes: Mapping[int, Sequence[Round]]) -> str:
    head = "Bundles swapped while half of what the server can do is asked"
    columns = ("items", "asked/s", "swaps", "longest, s", "requests meanwhile", "failed", "stale", "failed otherwise")
    lines = [head, "", f"| {' | '.join(columns)} | p99 meanwhile, ms | otherwise |"]
    lines.append("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for items, rounds in sorted(sizes.items()):
        facts: list[Mapping[str, Any]] = [each.facts["swap"] for each in rounds]
        swaps = [seconds for each in facts for seconds in each["swap_seconds"]]
        sums = [sum(each[name] for each in facts) for name in ("during", "failed", "stale", "failed_outside")]
        middles = [statistics.median(each[name] for each in facts) for name in ("rate", "during_ms", "outside_ms")]
        lines.append(
            f"| {items:,} | {middles[0]:,.0f} | {len(swaps)} | {max(swaps):.2f} | {' | '.join(f'{n:,}' for n in sums)} "
            f"| {middles[1]:.2f} | {middles[2]:.2f} |"
        )
    return "\n".join(lines)


def soak_table(sizes: Mapping[int, Round]) -> str:
    lines = ["A mixture of all routes, broken requests among them, bundles swapped twice a minute", ""]
    lines += [
        "| items | minutes | asked/s | requests | failed | swaps | p99, ms | MB, from … to | a straight line grows by |"
    ]
    lines += ["|---:|---:|---:|---:|---:|---:|---:|---|---|"]
    for items, made in sorted(sizes.items()):
        low, at, high, _ = memory_ratio(made)
        facts, mb = made.facts["soak"], made.times["mb"]
        grown = f"{at - 1:.2%} ({low - 1:.2%} … {high - 1:.2%})"
        lines.append(
            f"| {items:,} | {facts['minutes']:g} | {facts['rate']:,.0f} | {facts['requests']:,} | {facts['failed']:,} "
            f"| {facts['swaps']} | {facts['p99_ms']:.2f} | {mb.min():.1f} … {mb.max():.1f} | {grown} |"
        )
    return "\n".join(lines)


def client_table(rounds: Sequence[Round]) -> str:
    facts = [each.facts["client"] for each in rounds]
    rate, opened = (statistics.median(each[name] for each in facts) for name in ("rate", "open_rate"))
    late = [statistics.median(each["late_us"][place] for each in facts) for place in (0, 1)]
    return (
        f"The load client asks a server that does nothing {rate:,.0f} times a second; in an open loop at "
        f"{CLIENT_RATE:,.0f} a second, {opened:,.0f} were answered, sent {late[0]:.0f} microseconds after they were "
        f"meant to be in the median, {late[1]:.0f} in the 99th of a hundred."
    )
