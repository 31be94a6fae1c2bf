"""Asks an HTTP server at a stated rate, or as fast as it answers, and notes what each request met.

    python -m benchmarks.load PLAN.json SEEN.npz

In an open loop requests arrive when they are meant to, whatever the server does, and their latency counts from that
moment: whoever had to wait because others were slow is counted with all of his wait. In a closed loop every connection
asks again as soon as it is answered, which tells what the server can do at most. Connections are kept alive; a request
whose connection is lost, or that is not answered in time, has status 0.

The loop spins on its sockets, for a sleep ends tens of microseconds late: give it a core of its own.

Shapes: N requests, in the order in which they were meant to be sent.
"""

from __future__ import annotations

import gc
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any
from zlib import crc32

import numpy as np

HOST = "127.0.0.1"
SUMMED_EVERY = 7
"""One answer in so many has its checksum noted; a prime, so that in time all requests have their turn."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """What is asked of whom.

    Attributes:
        requests: a JSON file: list of `{"method", "path", "body"}`, asked in turn; a body that is text goes as it is.
        rate: requests that arrive a second; None asks in a closed loop.
        poisson: they arrive independently of each other, else evenly.
        linger_seconds: how long answers are waited for after the last arrival.
        mark: a field of answers whose text is noted, such as the bundle's digest.
        core: that this process is kept on; None leaves it to the system.
    """

    port: int
    requests: str
    seconds: float
    connections: int
    rate: float | None = None
    poisson: bool = True
    linger_seconds: float = 10.0
    mark: str | None = None
    core: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Seen:
    """What each request met.

    Attributes:
        begun: `time.perf_counter`, the same in all processes of a machine; other moments count from it, in seconds.
        seconds: until when requests arrived.
        meant_N: when it was meant to be sent; in a closed loop, when it was.
        late_N: how long after that it was sent; NaN where it never was.
        latency_N: from when it was meant to be sent to its answer's last byte; NaN where there was none.
        status_N: of HTTP; 0 where there was no answer.
        marks: texts of the field asked for; mark_N says which of them, -1 where none.
        sums: by request, checksums of the bodies looked at.
    """

    begun: float
    seconds: float
    meant_N: np.ndarray
    late_N: np.ndarray
    latency_N: np.ndarray
    status_N: np.ndarray
    mark_N: np.ndarray
    marks: Sequence[str]
    sums: Mapping[int, Sequence[int]]

    @property
    def ok_N(self) -> np.ndarray:
        return self.status_N == 200

    @property
    def rate(self) -> float:
        """Answers with status 200 a second, those that came after the last arrival not counted."""
        in_time_N = self.meant_N + np.where(self.ok_N, self.latency_N, np.inf) <= self.seconds
        return float(in_time_N.sum() / self.seconds)

    @property
    def statuses(self) -> dict[str, int]:
        found, counts = np.unique(self.status_N, return_counts=True)
        return {str(status): int(count) for status, count in zip(found.tolist(), counts.tolist(), strict=True)}

    def save(self, path: Path) -> None:
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        facts = {"begun": self.begun, "seconds": self.seconds, "marks": list(self.marks)}
        sums = [(request, found) for request, each in self.sums.items() for found in each]
        np.savez(path, facts=json.dumps(facts), sums=np.array(sums, np.int64).reshape(-1, 2), **arrays)

    @classmethod
    def load(cls, path: Path) -> Seen:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        sums: dict[int, list[int]] = {}
        for request, found in arrays.pop("sums").tolist():
            sums.setdefault(request, []).append(found)
        return cls(**json.loads(str(arrays.pop("facts"))), **arrays, sums=sums)


class _Connection:
    """One socket, and the place of the request it waits for an answer to, -1 when idle."""

    __slots__ = ("at", "buffer", "fd", "socket")

    def __init__(self) -> None:
        self.at, self.buffer = -1, b""

    def open(self, port: int, poll: select.epoll) -> None:
        try:
            self.socket = socket.create_connection((HOST, port), timeout=10)
        except OSError as error:
            raise SystemExit(f"No server answers on port {port} of {HOST} ({error}).") from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fd, self.buffer = self.socket.fileno(), b""
        poll.register(self.fd, select.EPOLLIN)


class Client:
    """Carries out one plan. Not used again."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._poll, self.ending = plan, select.epoll(), False
        self._asked = [prebuilt(plan.port, each) for each in json.loads(Path(plan.requests).read_text())]
        self._mark = re.compile(rb'"%s": ?"([^"]*)"' % plan.mark.encode()) if plan.mark else None
        self._meant, self._late, self._latency = array("d"), array("d"), array("d")
        self._status, self._marked = array("h"), array("h")
        self._marks: dict[str, int] = {}
        self._sums: dict[int, set[int]] = {}
        self._connections = [_Connection() for _ in range(plan.connections)]
        for connection in self._connections:
            connection.open(plan.port, self._poll)
        self._by_fd = {connection.fd: connection for connection in self._connections}
        self._begun, self._until = 0.0, plan.seconds

    def run(self) -> Seen:
        """Raises: SystemExit: there is no server, or it speaks HTTP this client does not read."""
        self._begun = perf_counter()
        if self._plan.rate is None:
            self._closed_loop()
        else:
            self._open_loop(_arrivals(self._plan))
        for connection in self._connections:
            connection.socket.close()
        arrays = (self._meant, self._late, self._latency, self._status, self._marked)
        marks, sums = list(self._marks), {request: sorted(found) for request, found in self._sums.items()}
        return Seen(self._begun, self._until, *(np.array(each) for each in arrays), marks, sums)

    def _closed_loop(self) -> None:
        for connection in self._connections:
            self._send(connection, self._note(perf_counter() - self._begun))
        waiting = len(self._connections)
        deadline = self._until + self._plan.linger_seconds
        while waiting and (now := perf_counter() - self._begun) < deadline:
            for fd, _ in self._poll.poll(0):
                connection = self._by_fd[fd]
                if not self._receive(connection):
                    continue
                if now < self._until and not self.ending:
                    self._send(connection, self._note(perf_counter() - self._begun))
                else:
                    waiting -= 1

    def _open_loop(self, arrivals: Sequence[float]) -> None:
        idle, waiting = deque(self._connections), deque()
        place, count, every = 0, len(arrivals), len(idle)
        while True:
            now = perf_counter() - self._begun
            if self.ending and count > place:
                count, self._until = place, now
            while place < count and arrivals[place] <= now:
                waiting.append(self._note(arrivals[place]))
                place += 1
            while waiting and idle:
                self._send(idle.popleft(), waiting.popleft())
            for fd, _ in self._poll.poll(0):
                connection = self._by_fd[fd]
                if self._receive(connection):
                    idle.append(connection)
            done = not waiting and len(idle) == every
            if place == count and (done or now > self._until + self._plan.linger_seconds):
                return

    def _note(self, meant: float) -> int:
        """Returns the place of a request that has arrived and is not yet answered."""
        self._meant.append(meant)
        self._late.append(np.nan)
        self._latency.append(np.nan)
        self._status.append(0)
        self._marked.append(-1)
        return len(self._meant) - 1

    def _send(self, connection: _Connection, at: int) -> None:
        connection.at = at
        asked = self._asked[at % len(self._asked)]
        try:
            sent = connection.socket.send(asked)
        except OSError:
            return  # The poll tells of it next, and the request is counted as lost there.
        if sent < len(asked):
            raise SystemExit("A request does not fit into a socket's buffer; this client sends smaller ones.")
        self._late[at] = perf_counter() - self._begun - self._meant[at]

    def _receive(self, connection: _Connection) -> bool:
        """Reads what has come; returns whether the connection has become idle by it."""
        try:
            data = connection.socket.recv(262_144)
        except OSError:
            data = b""
        if not data:
            return self._lost(connection)
        data = connection.buffer + data if connection.buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            connection.buffer = data
            return False
        length = _LENGTH.search(data, 0, end + 2)
        if not length:
            raise SystemExit("An answer does not say how long it is; this client reads no other.")
        if len(data) < end + 4 + int(length[1]):
            connection.buffer = data
            return False
        self._answered(connection.at, data, end + 4)
        connection.at, connection.buffer = -1, b""
        if _CLOSES.search(data, 0, end + 2):
            self._again(connection)
        return True

    def _answered(self, at: int, data: bytes, body: int) -> None:
        self._latency[at] = perf_counter() - self._begun - self._meant[at]
        self._status[at] = int(data[9:12])
        if self._mark and (found := self._mark.search(data, body)):
            self._marked[at] = self._marks.setdefault(found[1].decode(), len(self._marks))
        if at % SUMMED_EVERY == 0 and self._status[at] == 200:
            self._sums.setdefault(at % len(self._asked), set()).add(crc32(data[body:]))

    def _lost(self, connection: _Connection) -> bool:
        """Opens a connection again; what it was asked stays without an answer."""
        was_asked = connection.at >= 0
        connection.at = -1
        self._again(connection)
        return was_asked

    def _again(self, connection: _Connection) -> None:
        del self._by_fd[connection.fd]
        connection.socket.close()
        connection.open(self._plan.port, self._poll)
        self._by_fd[connection.fd] = connection


def prebuilt(port: int, request: Mapping[str, Any]) -> bytes:
    """Returns a request as it is sent."""
    body = request.get("body")
    content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    head = f"{request['method']} {request['path']} HTTP/1.1\r\nhost: {HOST}:{port}\r\n"
    if content:
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def _arrivals(plan: Plan) -> Sequence[float]:
    """Returns seconds from the beginning, ascending."""
    if not plan.poisson:
        return (np.arange(int(plan.seconds * plan.rate)) / plan.rate).tolist()
    draw = np.random.default_rng(plan.seed)
    pauses = draw.exponential(1 / plan.rate, int(plan.seconds * plan.rate * 1.1) + 100)
    moments = np.cumsum(pauses)
    return array("d", moments[moments < plan.seconds])


class Driving:
    """A client at work in a process of its own."""

    def __init__(self, plan: Plan) -> None:
        self._folder = TemporaryDirectory()
        self._path = Path(self._folder.name)
        (self._path / "plan.json").write_text(json.dumps(asdict(plan)))
        command = [sys.executable, "-m", "benchmarks.load", str(self._path / "plan.json"), str(self._path / "seen.npz")]
        self._process = subprocess.Popen(command)

    def end(self) -> Seen:
        """Tells it to let no more arrive, and returns what it has seen."""
        self._process.send_signal(signal.SIGTERM)
        return self.seen()

    @property
    def goes_on(self) -> bool:
        return self._process.poll() is None

    def seen(self) -> Seen:
        """Waits for the end of the plan. Raises: RuntimeError: the client failed."""
        try:
            if self._process.wait():
                raise RuntimeError(f"The load client ended with {self._process.returncode}.")
            return Seen.load(self._path / "seen.npz")
        finally:
            self._process.kill()
            self._folder.cleanup()


def drive(plan: Plan) -> Seen:
    """Carries out a plan in a process of its own."""
    return Driving(plan).seen()


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    client = Client(plan)

    def end(*_: object) -> None:
        client.ending = True

    signal.signal(signal.SIGTERM, end)
    gc.disable()
    client.run().save(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
