"""How often the latency gate errs on this machine: a bundle against itself, and against itself made slower.

    python -m benchmarks.latency_gate --into FOLDER --rounds 60

Rounds are the gate's own: fresh server processes for both sides, open loop at `gate.latency_rate`. A trial draws rounds
from all that were measured, without any twice, and looks as often as the gate would. A slower challenger is the same
times with every one of the challenger's multiplied: by the limit itself, which may pass as often as the error rate
allows, and by 1.3. The interval of a share is that of Clopper and Pearson over as many trials as there are rounds for
without sharing any; shares themselves are over all trials, which share rounds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.claims import Claim, publish
from benchmarks.gates import proportion
from benchmarks.nights import TO_BUNDLE, TO_PREPARE, Night
from pipeline.core.settings import Settings, load
from pipeline.gate import judge, trial
from pipeline.gate.contenders import Contender
from pipeline.gate.held_out import TestSet
from pipeline.gate.latency import Looks
from pipeline.gate.rules import Measured
from pipeline.gate.serving import DISTINCT_REQUESTS, Bench
from pipeline.model.retriever import Retriever

ITEMS = 2000
TRIALS = 400
SLOWER = (1.0, 1.15, 1.3)
GATES = ("p50_ratio", "p95_ratio")
Round = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Seen:
    """What became of trials in which the challenger took so many times as long."""

    slower: float
    verdicts: dict[str, Counter[str]]
    looks: Counter[int]
    independent: int

    def share(self, metric: str, verdict: str) -> float:
        return self.verdicts[metric][verdict] / TRIALS


def measure(settings: Settings, night: Night, rounds: int) -> list[Round]:
    """Returns times and the client's delays of rounds of one bundle against itself."""
    run = night.steps((*TO_PREPARE, *TO_BUNDLE), "latency-gate")
    test = TestSet.load(run.artifact("prepare"), settings.shop.metric)
    folder = run.artifact("optimize").path / "bundle"
    retriever = Retriever.load(folder)
    side = Contender(folder, retriever.bundle.digest, None, None, retriever, "", 0)
    asked = [trial.post(each["path"], each["request"]) for each in test.requests(settings.shop.k, DISTINCT_REQUESTS)]
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Measured(), asked, side, side, settings, Path(scratch))
        for number in range(rounds):
            found.append(bench.round(number))
            (ours, theirs), _ = found[-1]
            print(f"round {number + 1}/{rounds}: p50 {np.median(ours):.2f} and {np.median(theirs):.2f} ms", flush=True)
    return found


def trials(settings: Settings, rounds: Sequence[Round], slower: float) -> Seen:
    """Plays the gate on rounds drawn from those measured."""
    generator, gate = np.random.default_rng(0), settings.gate
    verdicts: dict[str, Counter[str]] = {metric: Counter() for metric in GATES}
    looks: Counter[int] = Counter()
    for _ in range(TRIALS):
        played, drawn = Looks(gate), list(generator.permutation(len(rounds)))
        ended = False
        while not ended:
            these = [rounds[drawn.pop()] for _ in range(gate.latency_rounds)]
            times = [np.stack([ours * slower, theirs]) for (ours, theirs), _ in these]
            ended = played.add(times, [late for _, late in these])
        rows = {metric: [row] for metric, row in played.evidence().items()}
        for finding in judge.judge(rows, gate, has_champion=True):
            if finding.metric in verdicts:
                verdicts[finding.metric][finding.verdict] += 1
        looks[played.look] += 1
    return Seen(slower, verdicts, looks, len(rounds) // gate.latency_rounds)


def claims_of(seen: Sequence[Seen]) -> list[Claim]:
    goals = {1.0: ">= 0.8", 1.15: "<= 0.05", 1.3: "<= 0.01"}
    found = []
    for each in seen:
        for metric in GATES:
            share = each.share(metric, "pass")
            low, high = proportion(round(share * each.independent), each.independent)
            sign, bound = goals[each.slower].split()
            holds = low >= float(bound) if sign == ">=" else high <= float(bound)
            name = f"{metric}, challenger {each.slower:g} times as slow"
            passed = each.verdicts[metric]["pass"]
            found.append(
                Claim(
                    name,
                    passed,
                    TRIALS,
                    "trials that pass",
                    share,
                    round(low, 3),
                    round(high, 3),
                    goals[each.slower],
                    holds,
                )
            )
    return found


def table(seen: Sequence[Seen]) -> str:
    head = ["| challenger's times | p50 passes | unclear | fails | p95 passes | unclear | fails | looks: 1 | 2 | 3 |"]
    lines = [*head, "|" + "---:|" * 10]
    for each in seen:
        cells = [f"{each.share(metric, v):.1%}" for metric in GATES for v in ("pass", "inconclusive", "fail")]
        looks = [f"{each.looks[n] / TRIALS:.0%}" for n in (1, 2, 3)]
        lines.append(f"| times {each.slower:g} | {' | '.join([*cells, *looks])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder of the night's store, taken again")
    parser.add_argument("--rounds", type=int, default=60, help="rounds to measure, at least those of all looks")
    given = parser.parse_args()
    settings = load()
    rounds = measure(settings, Night.of("generated", given.into, ITEMS), given.rounds)
    seen = [trials(settings, rounds, slower) for slower in SLOWER]
    ratios = np.array([np.quantile(ours, 0.5) / np.quantile(theirs, 0.5) for (ours, theirs), _ in rounds])
    tails = np.array([np.quantile(ours, 0.95) / np.quantile(theirs, 0.95) for (ours, theirs), _ in rounds])
    told = (
        f"{len(rounds)} rounds of one bundle against itself, {settings.gate.latency_rate:g} requests/s to each: the "
        f"ratio of medians differs between rounds by {np.log(ratios).std(ddof=1):.1%}, of 95th percentiles by "
        f"{np.log(tails).std(ddof=1):.1%}."
    )
    publish("latency_gate", claims_of(seen), packages=("numpy", "scipy"), details={"tables": [table(seen), told]})


if __name__ == "__main__":
    main()
