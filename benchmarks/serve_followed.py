"""Swaps under load and the soak of `serve`: a server that follows a store's pointer between two bundles."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Driving, Seen
from benchmarks.serve_contestants import OURS_COMPRESSED, Server
from benchmarks.serve_kept import Round, key
from benchmarks.serve_models import COMPRESSED, Model
from benchmarks.serve_rounds import Asker
from pipeline.core.artifacts import MANIFEST, seal, write_beside
from pipeline.core.run import Layout

LOAD = 0.5
SWAPS = 3
SWAP_WITHIN = 300.0
POLL_SECONDS = 0.05
"""So that the time of a swap is not that of waiting for it."""
SETTLE_SECONDS = 0.25
"""What a swap leaves behind, such as memory that is given back, counts as the swap."""
SOAK_SWAP_SECONDS, SAMPLE_SECONDS = 30.0, 2.0
MOST_SECONDS, LONGEST_RUN = 5.0, 1800.0


@dataclass
class Followed:
    """A store with two bundles that answer alike and differ in name, and the pointer to one of them."""

    root: Path
    digests: list[str] = field(default_factory=list)
    sequence: int = 0

    @classmethod
    def made(cls, model: Model) -> Followed:
        store = cls(model.folder.with_name(f"{model.folder.name}-followed"))
        shutil.rmtree(store.root, ignore_errors=True)
        one = model.bundle(COMPRESSED)
        other = store.root / "other"
        shutil.copytree(one, other)
        manifest = json.loads((other / MANIFEST).read_text())
        (other / MANIFEST).unlink()
        facts = {name: value for name, value in manifest.items() if name not in ("files", "digest")}
        seal(other, facts | {"data_end": "2026-12-31T00:00:00+00:00"})
        for bundle in (one, other):
            digest = json.loads((bundle / MANIFEST).read_text())["digest"]
            final = Layout(store.root).bundle(digest)
            final.parent.mkdir(parents=True, exist_ok=True)
            final.symlink_to(bundle, target_is_directory=True)
            store.digests.append(digest)
        store.swap()
        return store

    @property
    def digest(self) -> str:
        """The bundle that is pointed to."""
        return self.digests[self.sequence % 2]

    def swap(self) -> None:
        self.sequence += 1
        fields = {"sequence": self.sequence, "digest": self.digest, "version": str(self.sequence)}
        pointer = Layout(self.root).pointer
        pointer.parent.mkdir(parents=True, exist_ok=True)
        write_beside(pointer, json.dumps(fields))


@contextmanager
def _following(model: Model) -> Iterator[tuple[Server, Followed]]:
    store = Followed.made(model)
    server = Server(OURS_COMPRESSED, model, lambda _, port: _words(store.root, port))
    try:
        yield server, store
    finally:
        server.end()
        shutil.rmtree(store.root)


def _words(root: Path, port: int) -> list[str]:
    given = (f"store.root={root}", f"serve.poll_seconds={POLL_SECONDS}")
    return ["-m", "pipeline", "serve", "--port", str(port), *(word for each in given for word in ("--set", each))]


def swap_round(model: Model, seconds: float) -> Round:
    """Swaps bundles while half of what the server can do is asked of it."""
    with _following(model) as (server, store), Asker(server, model.requests, mark="bundle_digest") as asker:
        most = asker.at_most(seconds)
        driving = Driving(asker.plan(most["rate"] * LOAD, LONGEST_RUN))
        windows = []
        time.sleep(seconds)
        for _ in range(SWAPS):
            windows.append((*_swap(server, store), store.digest))
            time.sleep(seconds)
        seen = driving.end()
    inside_N, during = np.zeros(len(seen.meant_N), bool), []
    for begun, ended, _ in windows:
        inside_N |= (seen.meant_N >= begun - seen.begun) & (seen.meant_N < ended - seen.begun + SETTLE_SECONDS)
        during.append(ended - begun)
    times = {key("swap", name): (seen.latency_N[rows & seen.ok_N] * 1e3).astype(np.float32)
             for name, rows in (("during", inside_N), ("outside", ~inside_N))}  # fmt: skip
    p99 = {name: float(np.quantile(values, 0.99)) for name, values in times.items()}
    facts = {
        "rate": most["rate"] * LOAD,
        "requests": len(seen.meant_N),
        "during": int(inside_N.sum()),
        "failed": int((inside_N & ~seen.ok_N).sum()),
        "failed_outside": int((~inside_N & ~seen.ok_N).sum()),
        "statuses": seen.statuses,
        "swap_seconds": during,
        "stale": stale(seen, windows),
        "during_ms": p99[key("swap", "during")],
        "outside_ms": p99[key("swap", "outside")],
    }
    print(
        f"  {len(during)} swaps of {max(during):.1f} s at most: {facts['failed']} of {facts['during']:,} failed, p99 "
        f"{facts['during_ms']:.2f} ms during, {facts['outside_ms']:.2f} ms outside",
        flush=True,
    )
    return Round({"swap": facts}, times)


def _swap(server: Server, store: Followed) -> tuple[float, float]:
    """Returns when the pointer was written and when the server said that it serves what is pointed to."""
    begun = time.perf_counter()
    store.swap()
    while server.get("/readyz")["bundle_digest"] != store.digest:
        if time.perf_counter() - begun > SWAP_WITHIN:
            raise RuntimeError(f"The server did not follow its pointer within {SWAP_WITHIN:.0f} s.")
        time.sleep(0.05)
    return begun, time.perf_counter()


def stale(seen: Seen, windows: Sequence[tuple[float, float, str]]) -> int:
    """Returns how many answers came from the old bundle though asked for after the new one had answered somebody."""
    sent_N, done_N = seen.meant_N + seen.late_N, seen.meant_N + seen.latency_N
    count, ends = 0, [begun for begun, _, _ in windows[1:]] + [np.inf]
    for (begun, _, digest), end in zip(windows, ends, strict=True):
        of_new_N = seen.mark_N == (seen.marks.index(digest) if digest in seen.marks else -2)
        new_N = of_new_N & (done_N > begun - seen.begun)
        if new_N.any():
            after_N = (sent_N > done_N[new_N].min()) & (sent_N < end - seen.begun)
            count += int((after_N & ~of_new_N & seen.ok_N).sum())
    return count


def soak_round(model: Model, minutes: float, swap_seconds: float = SOAK_SWAP_SECONDS) -> Round:
    """Asks a mixture for minutes on end, swapping again and again, and watches what memory does."""
    samples, cycle = [], []
    with _following(model) as (server, store), Asker(server, model.requests, mark="bundle_digest") as asker:
        rate = asker.at_most(min(MOST_SECONDS, minutes * 10))["rate"] * LOAD
        asker.mix(soak_requests(model))
        driving, begun, last = Driving(asker.plan(rate, minutes * 60)), time.perf_counter(), time.perf_counter()
        while driving.goes_on:
            time.sleep(min(SAMPLE_SECONDS, swap_seconds / 5))
            samples.append(server.memory_mb())
            cycle.append((time.perf_counter() - begun, store.sequence))
            if time.perf_counter() - last > swap_seconds:
                store.swap()
                last = time.perf_counter()
                print(f"  soak: {(last - begun) / 60:.1f} min, {samples[-1]:.1f} MB", flush=True)
        seen = driving.seen()
    answered_N = seen.status_N > 0
    facts = {
        "minutes": minutes,
        "rate": rate,
        "requests": len(seen.status_N),
        "statuses": seen.statuses,
        "failed": int((seen.status_N == 0).sum() + (seen.status_N >= 500).sum()),
        "swaps": store.sequence - 1,
        "p99_ms": float(np.quantile(seen.latency_N[answered_N], 0.99) * 1e3),
    }
    moments, sequences = np.array(cycle).T
    return Round({"soak": facts}, {"seconds": moments, "sequence": sequences, "mb": np.array(samples)})


def soak_requests(model: Model) -> list[dict[str, Any]]:
    """Returns what a shop sends in a day, and what it should not: every route, filters, searches, broken ones."""
    asked = OURS_COMPRESSED.asked(model.requests)
    for place, request in enumerate(model.requests):
        body, kind = request["request"], place % 10
        item = body["history"][-1]["item_id"]
        others: dict[int, dict[str, Any]] = {
            1: {"method": "POST", "path": "/v1/search", "body": {"query": "green glass lantern", "k": 20}},
            3: {"method": "GET", "path": f"/v1/items/{item}/similar?k=20"},
            5: {"method": "POST", "path": "/v1/recommend", "body": {**body, "filter": {"category": "home"}}},
            7: {"method": "POST", "path": "/v1/recommend", "body": {"history": [], "k": 20}},
        }
        asked[place] = others.get(kind, asked[place])
    asked[9] = {"method": "POST", "path": "/v1/recommend", "body": '{"history": [{]}'}
    asked[19] = {"method": "GET", "path": "/v1/items/nobody/similar"}
    asked[29] = {"method": "GET", "path": "/metrics"}
    asked[39] = {"method": "GET", "path": "/nowhere"}
    return asked
