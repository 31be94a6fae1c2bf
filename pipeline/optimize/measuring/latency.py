"""Times tower and index of several bundles in one process of its own: no TensorFlow, one thread, call by call in turn.

`python -m pipeline.optimize.measuring.latency PARENT`, the request on standard input. In turn, because a machine that
slows down for a while then slows all of them alike; in a process of its own, because that is how the server runs them.
What counts is the thread's CPU time: on a machine with other work, wall time measures who else was scheduled, and would
let chance choose the recipe. Wall time is measured where it is promised, by the gate through the real server.

Where a process happens to put a bundle in memory alone moves its times by a few percent for as long as it lives. So
there are several processes that load the bundles in other orders, and an interval is drawn over them too. One bundle
takes part twice: how far it differs from itself is how far any two may differ by chance.

Shapes: N rounds (processes), C calls a round.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.process import die_with_parent
from pipeline.model.features import encode_queries
from pipeline.model.quantiles import interval_of, resampled_quantiles
from pipeline.model.retriever import Retriever
from pipeline.model.statistics import Interval
from pipeline.optimize.judged import Judged
from pipeline.optimize.measuring.apart import ask
from pipeline.optimize.measuring.host import fingerprint, pin

WARM_UP_CALLS = 50
MAX_QUERIES = 512
ROUNDS, LEAST_ROUNDS, MOST_SECONDS = 5, 2, 600
"""A slow catalogue gets fewer rounds rather than a night without an end."""
TIMEOUT_SECONDS = 1800
BLOCK = 25
"""Calls that lie so close together are slow together, so they are drawn together."""
QUANTILES = (0.5, 0.99)
CONFIDENCE, SEED = 0.95, 29
QUIET = 1.1
"""Two timings of one bundle whose median differs by more are told apart by nothing but chance."""


@dataclass(frozen=True)
class Timing:
    """What was timed.

    Attributes:
        times_ms: by bundle, float64 [N, C] CPU milliseconds from features to scored items; one place, one query.
        again_ms: the bundle that took part twice, its second time.
        twice: which one that was.
        host: what it was timed on.
    """

    times_ms: Mapping[str, np.ndarray]
    again_ms: np.ndarray
    twice: str
    host: Mapping[str, Any]

    @property
    def calls(self) -> int:
        return self.again_ms.size

    def quantile(self, name: str, quantile: float) -> Interval:
        """Returns the p50 or p99 of one bundle's times with its interval."""
        return interval_of(_value(self.times_ms[name], quantile), self._drawn[name][quantile], CONFIDENCE, self.calls)

    def ratio(self, name: str, other: str, quantile: float) -> Interval:
        """Returns one bundle's p50 or p99 relative to another's; the same places are drawn for both."""
        value = _value(self.times_ms[name], quantile) / _value(self.times_ms[other], quantile)
        drawn_S = self._drawn[name][quantile] / self._drawn[other][quantile]
        return interval_of(value, drawn_S, CONFIDENCE, self.calls)

    @cached_property
    def _drawn(self) -> dict[str, dict[float, np.ndarray]]:
        return {name: _quantiles(times_NC) for name, times_NC in self.times_ms.items()}

    def mean(self, name: str) -> float:
        """Returns CPU milliseconds a request, batch 1: what a core is paid for."""
        return float(self.times_ms[name].mean())

    @cached_property
    def itself(self) -> Interval:
        """Returns the median of the bundle timed twice, relative to its own."""
        value = _value(self.again_ms, 0.5) / _value(self.times_ms[self.twice], 0.5)
        drawn_S = _quantiles(self.again_ms)[0.5] / self._drawn[self.twice][0.5]
        return interval_of(value, drawn_S, CONFIDENCE, self.calls)

    @property
    def noisy(self) -> str:
        """Says in words that nothing can be told from these times; empty where it can."""
        found = self.itself
        if found.low >= 1 / QUIET and found.high <= QUIET:
            return ""
        return (
            f"noisy: {self.twice} against itself took {found.mean:.2f} times as long (95 % {found.low:.2f} to "
            f"{found.high:.2f}, allowed {1 / QUIET:.2f} to {QUIET:.2f}), so no recipe is judged by speed"
        )


def _quantiles(times_NC: np.ndarray) -> dict[float, np.ndarray]:
    """Returns p50 and p99 of resamples of rounds and of blocks of calls; the same places for every bundle."""
    rounds, calls = times_NC.shape
    size = min(BLOCK, max(1, calls // 2))
    blocks_NBR = times_NC[:, : calls // size * size].reshape(rounds, -1, size)  # what fills no block is left out
    return dict(zip(QUANTILES, resampled_quantiles(blocks_NBR, QUANTILES, SEED), strict=True))


def _value(times_NC: np.ndarray, quantile: float) -> float:
    return float(np.quantile(times_NC, quantile))


def measure(bundles: Mapping[str, Path], twice: str, judged: Judged, calls: int, k: int, scratch: Path) -> Timing:
    """Times each bundle on the same real queries, one of them as two.

    Args: calls: of each bundle, in all rounds together.
    Raises: UnavailableError: a measuring process ended without an answer.
    """
    features, extra = _features(bundles[twice], judged)
    np.savez(scratch / "features.npz", extra=extra, **features)
    folders = [str(folder) for folder in (*bundles.values(), bundles[twice])]
    request = {"features": str(scratch / "features.npz"), "calls": -(-calls // ROUNDS), "k": k}
    hint = "free the machine, or lower optimize.latency_requests"
    rounds, host, until = [], {}, time.monotonic() + MOST_SECONDS
    for number in range(ROUNDS):
        if number >= LEAST_ROUNDS and time.monotonic() > until:
            break
        order = np.random.default_rng((SEED, number)).permutation(len(folders))
        asked = {**request, "bundles": [folders[at] for at in order]}
        what = f"latency measurement of {calls} calls"
        answer = ask("pipeline.optimize.measuring.latency", asked, what, TIMEOUT_SECONDS, hint)
        rounds.append(np.asarray(answer["times_ms"])[np.argsort(order)])
        host = host or answer["host"]
    *times, again = np.stack(rounds, axis=1)
    return Timing(dict(zip(bundles, times, strict=True)), again, twice, {**host, "rounds": len(rounds)})


def _features(bundle: Path, judged: Judged) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns encoded queries, and how many answers more each needs because its history is left out."""
    retriever = Retriever.load(bundle)
    queries = judged.queries[:MAX_QUERIES]
    known = retriever.catalogue.rows_of
    pairs = zip(queries, judged.exclude_seen, strict=False)
    extra = np.array([len(known(query.item_ids)) if exclude else 0 for query, exclude in pairs], np.int64)
    return encode_queries(retriever.config, retriever.catalogue.tower_index, queries), extra


class _ComputePath:
    """From features to scored items; the catalogue of all bundles at once would not fit into memory."""

    def __init__(self, bundle: Path) -> None:
        retriever = Retriever.load(bundle)
        self._vectors_of, self._search = retriever.tower, retriever.index.search

    def __call__(self, features: Mapping[str, np.ndarray], k: int) -> None:
        self._search(self._vectors_of(features), k)


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    host = {**fingerprint(), "pinned_to_core": pin()}
    stored = np.load(request["features"], allow_pickle=False)
    depth_Q = request["k"] + stored["extra"]
    queries = [
        ({name: stored[name][at : at + 1] for name in stored.files if name != "extra"}, int(depth))
        for at, depth in enumerate(depth_Q)
    ]
    paths = [_ComputePath(Path(folder)) for folder in request["bundles"]]
    for path in paths:
        for call in range(WARM_UP_CALLS):
            path(*queries[call % len(queries)])
    return {"times_ms": _interleaved(paths, queries, request["calls"]), "host": host}


def _interleaved(
    paths: list[_ComputePath], queries: list[tuple[dict[str, np.ndarray], int]], calls: int
) -> list[list[float]]:
    """Returns CPU milliseconds by path; each in turn, another first each time."""
    times: list[list[float]] = [[] for _ in paths]
    gc.disable()
    for call in range(calls):
        for turn in range(len(paths)):
            at = (call + turn) % len(paths)
            # A server serves one bundle and finds it in its caches; here the others were there last.
            paths[at](*queries[(call + 1) % len(queries)])
            began = time.thread_time_ns()
            paths[at](*queries[call % len(queries)])
            times[at].append((time.thread_time_ns() - began) / 1e6)
    return times


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    print(json.dumps(_answer(json.load(sys.stdin))))
