"""How often the accuracy gate errs: in simulated tests of many sizes, and between real models of other seeds.

    python -m benchmarks.gates --into FOLDER --seeds 4

**Simulated.** Each target of a query is found or not by chance: the log odds are the sum of what the person is like,
how hard the target is and what each model makes of query and target, so that two equal models differ about as much as
real ones of other seeds do, and what one person asks is alike. One shop has one target a query and up to four queries a
person, the other a query a person with 21 targets, as Online Retail has in four weeks. A regression twice the margin is
the same model that loses so large a share of what it found, by chance. Every test goes through
`accuracy.compare` and `judge`, with all slices; the margin is derived by the gate itself, so `gate.max_margin` is
lifted, and a table shows what the limit set makes of the same tests.

**Real.** The models are trained by the night's own steps on Online Retail or the generated shop, all settings equal
but the seed, and every one meets every other as challenger and champion on the same test, as served by their bundles.
A worse challenger is planted as above.

The interval of a share is that of Clopper and Pearson over tests; pairs of real models share models and the test, so
theirs is too narrow and only says how few there were.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import numpy as np
from scipy.stats import beta

from benchmarks.claims import Claim, publish
from benchmarks.nights import SHOPS, TO_BUNDLE, TO_PREPARE, Night, retriever_of
from pipeline.core.settings import Settings, load
from pipeline.gate import accuracy, judge
from pipeline.gate.held_out import TestSet
from pipeline.gate.rules import Finding, Measured
from pipeline.model.slices import Catalogued

SIZES = (250, 500, 1000, 2000, 5000)
MARGIN = 0.99
"""Lifts the shop's limit, so that the derived margin alone decides."""
SAMPLES = 500
CONFIDENCE = 0.95
PEOPLE, TARGETS, MODELS = 0.6, 1.2, 0.4
"""Deviations of the log odds: between people, between targets, and of what a model makes of each query and target."""
KINDS = ("recommend", "recommend", "search")


@dataclass(frozen=True)
class Seen:
    """What became of many tests; `margins` are relative to the champion's recall."""

    verdicts: Sequence[str]
    vetoes: int
    margins: Sequence[float]

    @classmethod
    def of(cls, tests: Sequence[Sequence[Finding]]) -> Seen:
        rows = [next(f for f in findings if f.gate == "accuracy") for findings in tests]
        vetoes = sum(any(f.gate == "slice" and f.verdict == "fail" for f in findings) for findings in tests)
        margins = [-row.threshold / row.champion for row in rows if row.threshold is not None and row.champion]
        return cls([row.verdict for row in rows], vetoes, margins)

    def count(self, verdict: str) -> int:
        return self.verdicts.count(verdict)

    def share(self, verdict: str) -> str:
        return f"{self.count(verdict) / len(self.verdicts):.1%}"

    @property
    def margin(self) -> float:
        return float(np.median(self.margins)) if self.margins else float("nan")


FREE, LIMITED = (load([f"gate.bootstrap_samples={SAMPLES}", *words]) for words in ([f"gate.max_margin={MARGIN}"], []))


def judged(test: TestSet, pair: tuple[np.ndarray, np.ndarray], *settings: Settings) -> list[list[Finding]]:
    """Returns what the gate finds by each of the settings; baselines are not measured, and nobody looks at them."""
    measured = Measured()
    accuracy.compare(measured, test, dict(zip(("challenger", "champion"), pair, strict=True)), settings[0])
    return [judge.judge(measured.rows, each.gate, has_champion=True) for each in settings]


@dataclass(frozen=True)
class MadeShop:
    """What its tests are like.

    Attributes:
        targets: mean number of items that would be right, a query; those of a query differ as widely as in a real log.
        mean: log odds that one of them is found, without any deviation.
        queries_per_user: mean; at most four.
    """

    targets: float
    mean: float
    queries_per_user: float

    def test(self, queries: int, generator: np.random.Generator) -> TestSet:
        counts = np.minimum(1 + generator.poisson(self.queries_per_user - 1, queries), 4)
        owners = np.repeat(np.arange(queries), counts)[:queries]
        at = datetime(2024, 5, 1, tzinfo=UTC)
        lengths = generator.geometric(0.15, queries) - 1
        asked = enumerate(zip(owners, lengths, strict=True))
        rows = [_row(f"u{owner}", KINDS[n % len(KINDS)], int(length), at) for n, (owner, length) in asked]
        wanted = 1 + generator.poisson(generator.exponential(self.targets - 1, queries))
        items = Catalogued(["x"], np.array([True]), np.array([1]), [None], [None])
        return TestSet(rows, [["x"] * int(n) for n in wanted], [True] * queries, at, 7.0, items)

    def pair(self, test: TestSet, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns what two equal models find, float64 [P] each: 1 or 0."""
        _, owner_Q = np.unique(test.users, return_inverse=True)
        of_P = test.judged.query_P
        people_P = generator.normal(0, PEOPLE, owner_Q.max() + 1)[owner_Q[of_P]]
        shared_P = self.mean + people_P + generator.normal(0, TARGETS, len(of_P))
        # One draw of luck for both: what they do not share is what each makes of a query and of a target.
        luck_P = generator.logistic(size=len(of_P))
        sides = []
        for _ in range(2):
            own_P = generator.normal(0, MODELS, len(test))[of_P] + generator.normal(0, MODELS, len(of_P))
            sides.append(((shared_P + own_P) > luck_P).astype(np.float64))
        return sides[0], sides[1]


def _row(user: str, kind: str, length: int, at: datetime) -> dict:
    events = {"history_item_ids": ["x"] * length, "history_event_types": ["view"] * length}
    times = {"history_times": [at] * length, "time": at}
    return {"user": user, "kind": kind, "query": None, "context": None, **events, **times}


MADE_SHOPS = (MadeShop(targets=1.0, mean=-1.5, queries_per_user=1.6), MadeShop(21.0, -2.6, 1.0))


@dataclass(frozen=True)
class Simulation:
    """Tests of one size: with equal models, and with a regression twice the margin the size can detect."""

    shop: MadeShop
    queries: int
    equal: Seen
    worse: Seen
    limited: Seen
    limited_worse: Seen


def simulate(shop: MadeShop, queries: int, rounds: int) -> Simulation:
    generator = np.random.default_rng(queries)
    test, limit = shop.test(queries, generator), LIMITED.gate.max_margin
    pairs = [shop.pair(test, generator) for _ in range(rounds)]
    equal, limited = (
        Seen.of(each) for each in zip(*(judged(test, pair, FREE, LIMITED) for pair in pairs), strict=True)
    )
    worse = Seen.of([judged(test, _worse(pair, 2 * equal.margin, generator), FREE)[0] for pair in pairs])
    beyond = Seen.of([judged(test, _worse(pair, 2 * limit, generator), LIMITED)[0] for pair in pairs[: rounds // 4]])
    print(
        f"{queries:,} queries of {shop.targets:g}: margin {equal.margin:.1%}, equal models pass {equal.share('pass')}",
        flush=True,
    )
    return Simulation(shop, queries, equal, worse, limited, beyond)


def _worse(
    pair: tuple[np.ndarray, np.ndarray], share: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pair after the challenger lost so large a share of what it found, each by chance."""
    ours, theirs = pair
    return ours * (generator.random(len(ours)) >= share), theirs


def real_models(shop: str, into: Path, seeds: int) -> tuple[TestSet, list[np.ndarray]]:
    """Returns the test, and what the bundle of each seed finds of it: float64 [P], 1 or 0."""
    night, k, metric = Night.of(shop, into, items=2000), load().shop.k, load().shop.metric
    runs = []
    for seed in range(1, seeds + 1):
        words = {**night.settings, "train.seed": str(seed), "optimize.recipes": "[float32]"}
        runs.append(replace(night, settings=words).steps((*TO_PREPARE, *TO_BUNDLE), f"seed-{seed}"))
    test = TestSet.load(runs[0].artifact("prepare"), metric)
    return test, [test.found(test.answers(retriever_of(run), k), k) for run in runs]


def real(test: TestSet, found: Sequence[np.ndarray]) -> tuple[Seen, Seen]:
    """Returns what became of every model against every other, and of the same with a planted loss."""
    generator, pairs = np.random.default_rng(0), list(permutations(found, 2))
    equal = Seen.of([judged(test, pair, FREE)[0] for pair in pairs])
    return equal, Seen.of([judged(test, _worse(pair, 2 * equal.margin, generator), FREE)[0] for pair in pairs])


def share_claim(claim: str, seen: Seen, goal: str) -> Claim:
    """Holds the share of passes against a goal; `ours` are passes and `peer` tests."""
    passes, tests = seen.count("pass"), len(seen.verdicts)
    low, high = (round(end, 4) for end in proportion(passes, tests))
    sign, bound = goal.split()
    holds = high <= float(bound) if sign == "<=" else low >= float(bound)
    return Claim(claim, passes, tests, "tests that pass", round(passes / tests, 4), low, high, goal, holds)


def proportion(hits: int, of: int) -> tuple[float, float]:
    """Returns the interval of a share. Source: Clopper & Pearson 1934."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1 - tail, hits + 1, of - hits))
    return low, high


def what_is_detected(simulations: Sequence[Simulation]) -> str:
    """Returns the table for the docs: what a test of so many queries can tell."""
    limit = load().gate.max_margin
    head = [
        "| targets a query | test queries | loss the gate can rule out, % of recall "
        "| equal model: passes | is unclear | fails "
        "| twice that loss: passes | a slice vetoes an equal model "
        f"| limit of {limit:.0%}, equal model: passes | is unclear | twice the limit: passes | fails |",
        "|" + "---:|" * 12,
    ]
    return "\n".join([*head, *(_row_of(one) for one in simulations)])


def _row_of(one: Simulation) -> str:
    cells = [
        f"{one.shop.targets:g}",
        f"{one.queries:,}",
        f"{one.equal.margin:.1%}",
        *(one.equal.share(verdict) for verdict in ("pass", "inconclusive", "fail")),
        one.worse.share("pass"),
        f"{one.equal.vetoes / len(one.equal.verdicts):.1%}",
        *(one.limited.share(verdict) for verdict in ("pass", "inconclusive")),
        *(one.limited_worse.share(verdict) for verdict in ("pass", "fail")),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the real models' store, taken again")
    parser.add_argument("--shop", choices=SHOPS, default="online_retail")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=400, help="simulated tests of each size")
    given = parser.parse_args()
    simulations = [simulate(shop, queries, given.rounds) for shop in MADE_SHOPS for queries in SIZES]
    test, found = real_models(given.shop, given.into, given.seeds)
    equal, worse = real(test, found)
    claims = [
        share_claim(f"{name}, {what}", seen, goal)
        for name, pair in [
            (f"{one.queries:,} simulated queries of {one.shop.targets:g}", (one.equal, one.worse))
            for one in simulations
        ]
        + [(f"{given.shop}, {len(test):,} queries, other seeds", (equal, worse))]
        for what, seen, goal in zip(("equal model", "twice the margin worse"), pair, (">= 0.8", "<= 0.01"), strict=True)
    ]
    told = (
        f"On {given.shop} {given.seeds} models of other seeds met on {len(test):,} queries: the derived margin was "
        f"{equal.margin:.1%} of recall, {equal.share('pass')} of {len(equal.verdicts)} meetings passed, "
        f"{equal.share('inconclusive')} were unclear, {equal.share('fail')} failed, and a slice vetoed {equal.vetoes}."
    )
    publish("gates", claims, packages=("numpy",), details={"tables": [what_is_detected(simulations), told]})


if __name__ == "__main__":
    main()
