"""Times tower and index of several bundles in one process of its own: no TensorFlow, one thread, call by call in turn.

`python -m pipeline.optimize.latency PARENT REQUEST.json ANSWER.json`. In turn, because a machine that slows down for a
while then slows all of them alike; in a process of its own, because that is how the server runs them. What counts is
the thread's CPU time: on a machine with other work, wall time measures who else was scheduled, and would let chance
choose the recipe. Wall time is measured where it is promised, by the gate through the real server.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.core.artifacts import PACKAGE
from pipeline.core.errors import UnavailableError
from pipeline.core.process import die_with_parent
from pipeline.model.features import encode_queries
from pipeline.model.retriever import Retriever
from pipeline.optimize.judged import Judged

WARM_UP_CALLS = 50
MAX_QUERIES = 512
TIMEOUT_SECONDS = 900


def measure(bundles: Mapping[str, Path], judged: Judged, calls: int, k: int, scratch: Path) -> dict[str, np.ndarray]:
    """Times each bundle on the same real queries.

    Returns: by name, float64 [calls] CPU milliseconds from features to scored items; the same place is the same query.
    Raises: UnavailableError: the measuring process ended without an answer.
    """
    features, extra = _features(next(iter(bundles.values())), judged)
    np.savez(scratch / "features.npz", extra=extra, **features)
    request = {
        "bundles": {name: str(path) for name, path in bundles.items()},
        "features": str(scratch / "features.npz"),
        "calls": calls,
        "k": k,
    }
    (scratch / "request.json").write_text(json.dumps(request))
    answer = scratch / "answer.json"
    command = [
        sys.executable,
        "-m",
        "pipeline.optimize.latency",
        str(os.getpid()),
        str(scratch / "request.json"),
        str(answer),
    ]
    try:
        done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"The latency measurement of {calls} calls took over {TIMEOUT_SECONDS} s; "
            "free the machine, or lower optimize.latency_requests, and run optimize again."
        ) from None
    if done.returncode or not answer.exists():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UnavailableError(
            f"The latency measurement ended with code {done.returncode}: {last}; run optimize again."
        )
    return {name: np.asarray(times) for name, times in json.loads(answer.read_text()).items()}


def _features(bundle: Path, judged: Judged) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns encoded queries, and how many answers more each needs because its history is left out."""
    retriever = Retriever.load(bundle)
    queries = judged.queries[:MAX_QUERIES]
    known = retriever.catalogue.rows_of
    pairs = zip(queries, judged.exclude_seen, strict=False)
    extra = np.array([len(known(query.item_ids)) if exclude else 0 for query, exclude in pairs], np.int64)
    return encode_queries(retriever.config, retriever.catalogue.tower_index, queries), extra


def _answer(request: Mapping[str, object]) -> dict[str, list[float]]:
    stored = np.load(str(request["features"]), allow_pickle=False)
    extra = stored["extra"]
    features = {name: stored[name] for name in stored.files if name != "extra"}
    retrievers = {name: Retriever.load(Path(path)) for name, path in request["bundles"].items()}
    calls, k = int(request["calls"]), int(request["k"])
    for retriever in retrievers.values():
        for call in range(WARM_UP_CALLS):
            _timed(retriever, features, extra, call, k)
    times: dict[str, list[float]] = {name: [] for name in retrievers}
    names = list(retrievers)
    gc.disable()
    for call in range(calls):
        first = call % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(_timed(retrievers[name], features, extra, call, k))
    return times


def _timed(retriever: Retriever, features: Mapping[str, np.ndarray], extra: np.ndarray, call: int, k: int) -> float:
    at = call % len(extra)
    one = {name: values[at : at + 1] for name, values in features.items()}
    began = time.thread_time_ns()
    retriever.index.search(retriever.tower(one), k + int(extra[at]))
    return (time.thread_time_ns() - began) / 1e6


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    Path(sys.argv[3]).write_text(json.dumps(_answer(json.loads(Path(sys.argv[2]).read_text()))))
