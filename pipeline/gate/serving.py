"""What only the real server can show: that it starts, answers as sealed, how fast and how large it is."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.progress import Progress, progress
from pipeline.core.settings import Settings
from pipeline.gate import latency, load, trial
from pipeline.gate.contenders import Contender
from pipeline.gate.held_out import TestSet
from pipeline.gate.latency import Looks
from pipeline.gate.rules import Evidence, Measured
from pipeline.model.goldens import differences
from pipeline.model.statistics import Interval

DISTINCT_REQUESTS = 300
WARM_UP_WAVES, WAVES = 5, 15
"""Waves of requests at once, before latency is timed and, for throughput, after."""


def measure(
    into: Measured, test: TestSet, challenger: Contender, champion: Contender | None, settings: Settings, scratch: Path
) -> None:
    """Starts the real server on the bundles; asks goldens; times requests, both servers by turns."""
    warmups = challenger.retriever.bundle.warmups if challenger.retriever else []
    asked = test.requests(settings.shop.k, DISTINCT_REQUESTS) or warmups
    requests = [trial.post(request["path"], request["request"]) for request in asked]
    rival = champion if champion and champion.retriever else None
    bench = Bench(into, requests, challenger, rival, settings, scratch)
    try:
        looks = bench.look_until_settled()
    except trial.TrialError as error:
        _note_failure(into, str(error))
        return
    answered = looks.timed["requests"]
    detail = f"{answered:,} requests were answered with 200."
    into.add("requests_answered", Evidence(holds=True, n=answered, detail=detail))
    into.timed = looks.timed
    pooled = np.concatenate(looks.rounds, axis=1)
    into.times_ms |= dict(zip(("challenger", "champion"), pooled, strict=False))
    for metric, row in looks.evidence().items():
        into.add(metric, row)


def _note_failure(into: Measured, why: str) -> None:
    """Marks what the challenger's server could not show; it says why at the first gate it did not reach."""
    started = "start_seconds" in into.rows
    into.rows.setdefault("start_seconds", [Evidence(failed=True, detail=why)])
    rest = why if started else "The server did not start."
    for metric in ("requests_answered", "goldens", "memory_mb", "requests_per_second", "p99_ms", *latency.RATIOS):
        into.rows.setdefault(metric, [Evidence(failed=True, detail=rest)])


@dataclass
class Bench:
    """Challenger and champion side by side; `rival` is dropped when its server does not work.

    Attributes:
        figures: of each server by metric, one a round.
    """

    into: Measured
    requests: Sequence[bytes]
    challenger: Contender
    rival: Contender | None
    settings: Settings
    scratch: Path
    figures: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def look_until_settled(self) -> Looks:
        """Raises: TrialError: the challenger's server does not work."""
        gate = self.settings.gate
        while True:
            try:
                with progress("gate: timing servers", gate.latency_looks * gate.latency_rounds, "rounds") as bar:
                    return self._looks(bar)
            except trial.TrialError as error:
                if error.server != "champion":
                    raise
                why = f"The champion's server does not work, so nothing can be compared with it: {error}"
                self.into.rows["champion_readable"] = [Evidence(detail=why)]
                self.rival = None
                self.figures.clear()

    def _looks(self, bar: Progress) -> Looks:
        looks, ended = Looks(self.settings.gate), False
        while not ended:
            timed = []
            for _ in range(self.settings.gate.latency_rounds):
                timed.append(self.round(len(looks.rounds) + len(timed)))
                bar.advance(1, look=looks.look + 1)
            ended = looks.add([times for times, _ in timed], [late for _, late in timed])
        return looks

    def round(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns float64 [servers, requests], milliseconds, and the client's own delays."""
        gate = self.settings.gate
        sides = {"challenger": self.challenger, **({"champion": self.rival} if self.rival else {})}
        blocks = max(1, gate.latency_requests // gate.latency_rounds // load.BLOCK)
        with ExitStack() as stack:
            trials = {}
            # Who starts first gets the better core now and then, so every other round turns it round.
            for name in sorted(sides, reverse=number % 2 == 0):
                server = trial.started(sides[name].folder, self.settings, self.scratch, name)
                trials[name] = stack.enter_context(server)
            self._ask_goldens_once(trials["challenger"])
            crowds = {name: stack.enter_context(trials[name].clients(load.AT_ONCE)) for name in sides}
            for crowd in crowds.values():
                load.requests_per_second(crowd, self.requests, WARM_UP_WAVES)
            before = trials["challenger"].cpu_seconds()
            clients = [trials[name].client for name in sides]
            seed = gate.seed + number * blocks
            times, late = load.time_blocks(clients, self.requests, blocks, gate.latency_rate, seed)
            self.into.server_cpu_seconds += trials["challenger"].cpu_seconds() - before
            self.into.server_requests += times.shape[1]
            for name in sides:
                self._note(name, trials[name], load.requests_per_second(crowds[name], self.requests, WAVES))
        return times, late

    def _ask_goldens_once(self, ours: trial.Trial) -> None:
        if "goldens" not in self.into.rows:
            self.into.rows["start_seconds"] = [Evidence(value=_spread([ours.start_seconds]))]
            self.into.add("goldens", ask_goldens(ours.client, self.challenger))

    def _note(self, name: str, server: trial.Trial, answers: float) -> None:
        """Keeps a round's figures of one server."""
        found = {
            "start_seconds": server.start_seconds,
            "memory_mb": server.memory_mb(),
            "requests_per_second": answers,
        }
        for metric, value in found.items():
            self.figures[metric][name].append(value)
            ours, theirs = (self.figures[metric].get(side) for side in ("challenger", "champion"))
            if ours:
                champion = float(np.median(theirs)) if theirs else None
                self.into.rows[metric] = [_told(_spread(ours), champion)]


def _told(found: Interval, champion: float | None) -> Evidence:
    beside = "" if champion is None else f"; the champion's is {champion:.4g}"
    detail = f"{found.mean:.4g} ({found.low:.4g} to {found.high:.4g} in {found.n} rounds){beside}."
    return Evidence(value=found, champion=champion, detail=detail)


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


def _spread(values: Sequence[float]) -> Interval:
    """Returns the median of what was measured a few times, with the least and the most."""
    return Interval(float(np.median(values)), min(values), max(values), 0.0, len(values))
