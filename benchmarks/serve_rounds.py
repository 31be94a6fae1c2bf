"""A round of `serve`: a fresh server, its answers checked, what it can do at most, how long it takes below that."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.load import Plan, Seen, drive
from benchmarks.serve_contestants import CLIENT_CORE, HOST, SERVER_CORE, Contestant, Server, free_port, on_core
from benchmarks.serve_kept import Round, key
from benchmarks.serve_models import Model
from pipeline.model.goldens import differences

SHARES = (0.25, 0.5, 0.75, 0.9)
OVERLOAD = 1.5
CLOSED_CONNECTIONS, OPEN_CONNECTIONS = 16, 256
WARM_SECONDS = 1.5
LEAST_REQUESTS, LONGEST = 400, 4
"""A share of little is asked for longer, up to so many times the seconds, until so many requests were sent."""
CLIENT_RATE = 15_000.0
SHOWN = ("title", "category", "brand", "price")


def load_round(sides: Sequence[Contestant], model: Model, seconds: float, shares: Sequence[float]) -> Round:
    """Measures everybody once.

    Args: shares: of what each was seen to do at most, asked for in an open loop.
    Raises: RuntimeError: somebody answers otherwise than the first, or under load otherwise than alone.
    """
    facts: dict[str, Any] = {}
    times: dict[str, np.ndarray] = {}
    expected: list[dict[str, Any]] = []
    for each in sides:
        with Server(each, model) as server, Asker(server, model.requests) as asker:
            expected = expected or asker.answers
            if each.recipe == sides[0].recipe:
                hold(expected, asker.answers, each.title)
            found = {"start_seconds": server.start_seconds, "shared": shared(expected, asker.answers)}
            found |= asker.at_most(seconds)
            found["open"] = {}
            for share in shares:
                seen = asker.open(found["rate"] * share, seconds)
                found["open"][str(share)] = _open_facts(seen)
                times[key(each.name, share)] = (seen.latency_N[seen.ok_N] * 1e3).astype(np.float32)
            facts[each.name] = found
        told = f"{found['rate']:,.0f} requests/s, {found['cpu_ms']:.3f} CPU ms, ready in {found['start_seconds']:.1f} s"
        print(f"  {each.title}: {told}, {found['memory_mb']:,.0f} MB", flush=True)
    return Round(facts, times)


class Asker:
    """Asks one server the requests of its model."""

    def __init__(self, server: Server, requests: Sequence[Mapping[str, Any]], mark: str | None = None) -> None:
        self._server, self._mark = server, mark
        contents = server.answers(requests)
        self.answers = [server.contestant.told(content) for content in contents]
        self._sums = [crc32(content) for content in contents] if mark is None else None
        self._folder = TemporaryDirectory()
        self._file = Path(self._folder.name) / "requests.json"
        self._file.write_text(json.dumps(server.contestant.asked(requests)))

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def plan(self, rate: float | None, seconds: float) -> Plan:
        connections = CLOSED_CONNECTIONS if rate is None else OPEN_CONNECTIONS
        given = {"mark": self._mark, "core": CLIENT_CORE, "seed": int(time.time())}
        return Plan(self._server.port, str(self._file), seconds, connections, rate, **given)

    def mix(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Asks these from now on, in the load client's form."""
        self._file.write_text(json.dumps(requests))

    def at_most(self, seconds: float) -> dict[str, Any]:
        """Returns what a closed loop sees after a warm-up: answers a second, and what one costs."""
        self._seen(None, WARM_SECONDS)
        before = self._server.cpu_seconds()
        seen = self._seen(None, seconds)
        cpu_ms = (self._server.cpu_seconds() - before) / max(int(seen.ok_N.sum()), 1) * 1e3
        facts = {"rate": seen.rate, "cpu_ms": cpu_ms, "memory_mb": self._server.memory_mb()}
        return facts | {"statuses": seen.statuses}

    def open(self, rate: float, seconds: float) -> Seen:
        return self._seen(rate, min(max(seconds, LEAST_REQUESTS / rate), seconds * LONGEST))

    def _seen(self, rate: float | None, seconds: float) -> Seen:
        seen = drive(self.plan(rate, seconds))
        for request, found in (seen.sums if self._sums else {}).items():
            if set(found) != {self._sums[request]}:
                raise RuntimeError(f"{self._server.contestant.title} answers request {request} otherwise under load.")
        if not seen.ok_N.any():
            raise RuntimeError(f"{self._server.contestant.title} answered nothing: {seen.statuses}.")
        return seen


def _open_facts(seen: Seen) -> dict[str, Any]:
    asked = len(seen.status_N)
    late = seen.late_N[np.isfinite(seen.late_N)]
    return {
        "asked_rate": asked / seen.seconds,
        "answered_rate": seen.rate,
        "statuses": seen.statuses,
        "refused_share": float((seen.status_N >= 400).mean()),
        "unanswered_share": float((seen.status_N == 0).mean()),
        "client_late_ms": float(np.quantile(late, 0.5) * 1e3),
    }


def hold(expected: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]], who: str) -> None:
    """Raises: RuntimeError: an answer is another one, ties within the tolerance of goldens aside."""
    for number, (want, got) in enumerate(zip(expected, found, strict=True), start=1):
        wrong = differences(want, got)
        shown = {item["item_id"]: _fields(item) for item in want["items"]}
        wrong += [
            f"{item['item_id']} is shown as {_fields(item)}"
            for item in got["items"]
            if shown.get(item["item_id"], _fields(item)) != _fields(item)
        ]
        if wrong:
            raise RuntimeError(f"{who} answers request {number} otherwise: {wrong[0]}.")


def _fields(item: Mapping[str, Any]) -> list[Any]:
    return [item[name] for name in SHOWN]


def shared(expected: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> float:
    """Returns the share of the items expected that are answered."""
    pairs = [
        [{item["item_id"] for item in answer["items"]} for answer in both] for both in zip(expected, found, strict=True)
    ]
    return sum(len(want & got) for want, got in pairs) / max(sum(len(want) for want, _ in pairs), 1)


def client_round(seconds: float) -> Round:
    """Asks a server that does nothing, to see that the client is not what is measured."""
    port = free_port()
    request = {"method": "POST", "path": "/", "body": {"history": ["x" * 100] * 10}}
    with TemporaryDirectory() as folder, on_core(SERVER_CORE):
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.serve_trivial", str(port)])
        try:
            _until_open(port, server)
            (asked := Path(folder) / "requests.json").write_text(json.dumps([request]))
            closed = drive(Plan(port, str(asked), seconds, CLOSED_CONNECTIONS, core=CLIENT_CORE))
            opened = drive(Plan(port, str(asked), seconds, OPEN_CONNECTIONS, CLIENT_RATE, core=CLIENT_CORE))
        finally:
            server.kill()
            server.wait()
    late = np.quantile(opened.late_N[np.isfinite(opened.late_N)], [0.5, 0.99]) * 1e6
    told = {"rate": closed.rate, "open_rate": opened.rate, "late_us": late.tolist(), "statuses": opened.statuses}
    print(f"  client alone: {closed.rate:,.0f} requests/s; at {CLIENT_RATE:,.0f}/s {late[0]:.0f} us late", flush=True)
    return Round({"client": told})


def _until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("The trivial server did not come up.")
