"""What only the real server can show: that it starts, answers as sealed, how fast and how large it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.settings import Settings
from pipeline.gate import judge, trial
from pipeline.gate.contenders import Contender
from pipeline.gate.held_out import TestSet
from pipeline.gate.rules import Evidence, Measured
from pipeline.model.goldens import differences
from pipeline.model.quantiles import quantile_interval, ratio_interval
from pipeline.model.statistics import Interval

DISTINCT_REQUESTS = 300
WARM_UP_BLOCKS = 2
MOST_ROUNDS = 4
"""Latency that does not pass is measured again with fresh processes, which may have been unlucky with their cores."""

QUANTILES = (("p50_ratio", 0.5), ("p95_ratio", 0.95))


def measure(
    into: Measured, test: TestSet, challenger: Contender, champion: Contender | None, settings: Settings, scratch: Path
) -> None:
    """Starts the real server on the bundles; asks goldens; times requests, both servers interleaved."""
    warmups = challenger.retriever.bundle.warmups if challenger.retriever else []
    asked = test.requests(settings.shop.k, DISTINCT_REQUESTS) or warmups
    requests = [trial.post(request["path"], request["request"]) for request in asked]
    rival = champion if champion and champion.retriever else None
    try:
        rounds = _Bench(into, requests, challenger, rival, settings, scratch).rounds()
    except trial.TrialError as error:
        _note_failure(into, str(error))
        return
    answered = sum(times.size for times in rounds)
    detail = f"{answered:,} requests were answered with 200."
    into.add("requests_answered", Evidence(holds=True, n=answered, detail=detail))
    pooled = np.concatenate(rounds, axis=1)
    into.times_ms |= dict(zip(("challenger", "champion"), (side.ravel() for side in pooled), strict=False))
    for metric, row in latency_evidence(rounds, settings).items():
        into.add(metric, row)


def _note_failure(into: Measured, why: str) -> None:
    """Marks what the challenger's server could not show; it says why at the first gate it did not reach."""
    started = "start_seconds" in into.rows
    into.rows.setdefault("start_seconds", [Evidence(failed=True, detail=why)])
    rest = why if started else "The server did not start."
    for metric in ("requests_answered", "goldens", "memory_mb", "p99_ms", "p50_ratio", "p95_ratio"):
        into.rows.setdefault(metric, [Evidence(failed=True, detail=rest)])


@dataclass
class _Bench:
    """Challenger and champion side by side; `rival` is dropped when its server does not work."""

    into: Measured
    requests: Sequence[bytes]
    challenger: Contender
    rival: Contender | None
    settings: Settings
    scratch: Path

    def rounds(self) -> list[np.ndarray]:
        """Returns float64 [servers, blocks, requests a block] of each round, milliseconds.

        Raises: TrialError: the challenger's server does not work.
        """
        rounds: list[np.ndarray] = []
        while len(rounds) < MOST_ROUNDS:
            try:
                rounds.append(self._round(len(rounds)))
            except trial.TrialError as error:
                if error.server != "champion":
                    raise
                why = f"The champion's server does not work, so nothing can be compared with it: {error}"
                self.into.rows["champion_readable"] = [Evidence(detail=why)]
                self.rival, rounds = None, []
                continue
            if _is_settled(rounds, self.settings):
                break
        return rounds

    def _round(self, number: int) -> np.ndarray:
        sides = {"challenger": self.challenger, **({"champion": self.rival} if self.rival else {})}
        blocks = max(2, self.settings.gate.latency_requests // trial.REQUESTS_PER_BLOCK)
        with ExitStack() as stack:
            trials = {}
            # Who starts first gets the better core now and then, so every other round turns it round.
            for name in sorted(sides, reverse=number % 2 == 0):
                server = trial.started(sides[name].folder, self.settings, self.scratch, name)
                trials[name] = stack.enter_context(server)
            ours = trials["challenger"]
            self._note_start(ours)
            clients = [trials[name].client for name in sides]
            trial.time_blocks(clients, self.requests, WARM_UP_BLOCKS)
            before = ours.cpu_seconds()
            times = trial.time_blocks(clients, self.requests, blocks)
            self.into.server_cpu_seconds += ours.cpu_seconds() - before
            self.into.server_requests += times[0].size
            self.into.rows["memory_mb"] = [Evidence(value=_exactly(ours.memory_mb()))]
        return times

    def _note_start(self, ours: trial.Trial) -> None:
        if "start_seconds" not in self.into.rows:
            self.into.add("start_seconds", Evidence(value=_exactly(ours.start_seconds)))
            self.into.add("goldens", ask_goldens(ours.client, self.challenger))


def ask_goldens(client: trial.Client, challenger: Contender) -> Evidence:
    """Asks the server every golden request of its bundle."""
    goldens = challenger.retriever.bundle.goldens if challenger.retriever else []
    wrong = []
    for number, golden in enumerate(goldens, start=1):
        status, body = client.ask(trial.post(golden["path"], golden["request"]))
        faults = _golden_faults(status, body, golden["answer"], challenger.digest)
        wrong += [f"Golden request {number}: {fault}." for fault in faults]
    if not goldens:
        return Evidence(holds=False, detail="The bundle holds no golden request.")
    right = f"All {len(goldens)} golden requests are answered as sealed."
    return Evidence(holds=not wrong, n=len(goldens), detail=wrong[0] if wrong else right)


def _golden_faults(status: int, body: bytes, expected: Mapping[str, Any], digest: str) -> list[str]:
    if status != 200:
        return [f"answered with status {status}"]
    found = json.loads(body)
    if found["bundle_digest"] != digest:
        return [f"answered by bundle {found['bundle_digest'][:12]}, expected {digest[:12]}"]
    if any(item["score"] is None for item in found["items"]):
        return ["a score is not a number"]
    return differences(expected, found)


def latency_evidence(rounds: Sequence[np.ndarray], settings: Settings) -> dict[str, Evidence]:
    """Returns the latency rows.

    Args:
        rounds: float64 [servers, blocks, requests a block] each, milliseconds; challenger first, then champion.
    """
    gate, sides = settings.gate, np.stack(rounds, axis=1)
    p99 = quantile_interval(sides[0], 0.99, gate.confidence, gate.seed)
    rows = {"p99_ms": Evidence(value=p99, n=p99.n)}
    for metric, quantile in QUANTILES:
        if len(sides) < 2:
            rows[metric] = Evidence(reported=True, detail="There is no champion's server to compare with.")
        else:
            ratio = ratio_interval(sides[0], sides[1], quantile, gate.confidence, gate.seed)
            rows[metric] = Evidence(value=ratio, n=ratio.n)
    return rows


def _is_settled(rounds: Sequence[np.ndarray], settings: Settings) -> bool:
    rows = latency_evidence(rounds, settings)
    findings = judge.judge({name: [row] for name, row in rows.items()}, settings.gate, True)
    verdicts = {f.verdict for f in findings if f.metric in rows}
    return verdicts <= {"pass", "reported"} or (len(rounds) > 1 and "inconclusive" not in verdicts)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 0.0, 1)
