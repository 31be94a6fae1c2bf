"""What only the real server can show: that it starts, answers as sealed, how fast and how large it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import PipelineError
from pipeline.core.settings import Settings
from pipeline.gate import judge, latency, trial
from pipeline.gate.contenders import Contender
from pipeline.gate.rules import Evidence, Measured
from pipeline.gate.test_set import TestSet
from pipeline.model.goldens import differences
from pipeline.model.statistics import Interval

DISTINCT_REQUESTS = 300
WARM_UP_BLOCKS = 2


def measure(
    into: Measured, test: TestSet, challenger: Contender, champion: Contender | None, settings: Settings, scratch: Path
) -> None:
    """Starts the real server on the bundles; asks goldens; times requests, both servers interleaved."""
    with ExitStack() as stack:
        try:
            ours = stack.enter_context(trial.started(challenger.folder, settings, scratch, "challenger"))
        except PipelineError as error:
            _not_served(into, str(error))
            return
        into.add("start_seconds", Evidence(value=_exactly(ours.start_seconds)))
        into.add("goldens", ask_goldens(ours.client, challenger))
        theirs = _champion_server(into, stack, champion, settings, scratch)
        warmups = challenger.retriever.bundle.warmups if challenger.retriever else []
        _measure_latency(into, test.requests(settings.shop.k, DISTINCT_REQUESTS) or warmups, ours, theirs, settings)


def _not_served(into: Measured, why: str) -> None:
    for metric in ("start_seconds", "requests_answered", "goldens", "memory_mb", "p99_ms", "p50_ratio", "p95_ratio"):
        into.add(
            metric, Evidence(failed=True, detail=why if metric == "start_seconds" else "The server did not start.")
        )


def _champion_server(
    into: Measured, stack: ExitStack, champion: Contender | None, settings: Settings, scratch: Path
) -> trial.Trial | None:
    if champion is None or champion.retriever is None:
        return None
    try:
        return stack.enter_context(trial.started(champion.folder, settings, scratch, "champion"))
    except PipelineError as error:
        into.rows["champion_readable"] = [Evidence(detail=f"The champion's server does not start: {error}")]
        return None


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


def _measure_latency(
    into: Measured, kept: Sequence[Mapping[str, Any]], ours: trial.Trial, theirs: trial.Trial | None, settings: Settings
) -> None:
    requests = [trial.post(request["path"], request["request"]) for request in kept]
    clients = [ours.client, *([theirs.client] if theirs else [])]
    blocks = max(2, settings.gate.latency_requests // trial.REQUESTS_PER_BLOCK)
    try:
        trial.time_blocks(clients, requests, WARM_UP_BLOCKS)
        times = trial.time_blocks(clients, requests, blocks)
        if _is_noisy(latency_evidence(times, settings), settings):
            # An interval that straddles its limit is given as many requests again before it is called too noisy.
            times = np.concatenate([times, trial.time_blocks(clients, requests, blocks)], axis=1)
    except PipelineError as error:
        into.add("requests_answered", Evidence(holds=False, detail=str(error)))
        for metric in ("p99_ms", "p50_ratio", "p95_ratio", "memory_mb"):
            into.add(metric, Evidence(failed=True, detail="Requests were not answered, so nothing was timed."))
        return
    answered = f"{times.size:,} requests were answered with 200."
    into.add("requests_answered", Evidence(holds=True, n=times.size, detail=answered))
    into.add("memory_mb", Evidence(value=_exactly(ours.memory_mb())))
    into.times_ms |= dict(zip(("challenger", "champion"), (side.ravel() for side in times), strict=False))
    for metric, row in latency_evidence(times, settings).items():
        into.add(metric, row)


def latency_evidence(times_SBR: np.ndarray, settings: Settings) -> dict[str, Evidence]:
    """Returns the latency rows.

    Args:
        times_SBR: float64 [servers, blocks, requests a block], milliseconds; the challenger first, then the champion.
    """
    gate = settings.gate
    p99 = latency.quantile_interval(times_SBR[0], 0.99, gate.confidence, gate.seed)
    rows = {"p99_ms": Evidence(value=p99, n=p99.n)}
    for metric, quantile in (("p50_ratio", 0.5), ("p95_ratio", 0.95)):
        if len(times_SBR) < 2:
            rows[metric] = Evidence(reported=True, detail="There is no champion's server to compare with.")
            continue
        ratio = latency.ratio_interval(times_SBR[0], times_SBR[1], quantile, gate.confidence, gate.seed)
        own, other = (float(np.quantile(side, quantile)) for side in times_SBR)
        rows[metric] = Evidence(value=ratio, n=ratio.n, detail=f"{own:.3g} ms against {other:.3g} ms")
    return rows


def _is_noisy(rows: Mapping[str, Evidence], settings: Settings) -> bool:
    findings = judge.judge({name: [row] for name, row in rows.items()}, settings.gate, True)
    return any(f.verdict == "inconclusive" for f in findings if f.metric in rows)


def _exactly(value: float) -> Interval:
    return Interval(value, value, value, 0.0, 1)
