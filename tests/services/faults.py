"""A server in front of a real one that passes every request on, and spoils the answers it is told to."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Fault:
    """What happens to one answer.

    Attributes:
        status: answered instead of asking the real server; 0 asks it.
        cut_after: bytes of the body after which the connection is closed; -1 never.
        lose_answer: the real server does what was asked, but the connection closes without an answer.
        pause_seconds: before the answer.
    """

    status: int = 0
    cut_after: int = -1
    lose_answer: bool = False
    pause_seconds: float = 0.0


@dataclass
class Faults:
    """The next answers to requests, by method or by `METHOD path` with asterisks; None passes one through.

    When a plan is used up, what is `always` done happens, or nothing.

    Attributes:
        seen: every request, `METHOD path` and the range it asked for.
    """

    url: str = ""
    planned: dict[str, list[Fault | None]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)

    def plan(self, which: str, *faults: Fault | None) -> None:
        self.planned[which] = list(faults)

    def next(self, request: str) -> Fault | None:
        for which, faults in self.planned.items():
            if faults and _meant(request, which):
                return faults.pop(0)
        return next((fault for which, fault in self.always.items() if _meant(request, which)), None)


def _meant(request: str, which: str) -> bool:
    return request.split()[0] == which or fnmatchcase(request, which)


@contextmanager
def in_front_of(url: str) -> Iterator[Faults]:
    """Runs the server until the block ends; requests keep their Host, so that signatures still fit."""
    faults, real = Faults(), urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            request = f"{self.command} {self.path}"
            faults.seen.append((request, self.headers.get("Range", "")))
            fault = faults.next(request) or Fault()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(fault.pause_seconds)
            if fault.status:
                self._answer(fault.status, {"Content-Length": "0"}, b"", Fault())
                return
            connection = http.client.HTTPConnection(real.hostname or "", real.port, timeout=60)
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            headers = {n: v for n, v in response.getheaders() if n.lower() not in {"transfer-encoding", "connection"}}
            content = response.read()
            connection.close()
            self._answer(response.status, headers, content, fault)

        def _answer(self, status: int, headers: dict[str, str], content: bytes, fault: Fault) -> None:
            if fault.lose_answer:
                self.close_connection = True
                return
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content-length" not in {name.lower() for name in headers} and self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            cut = 0 <= fault.cut_after < len(content)
            self.wfile.write(content[: fault.cut_after] if cut else content)
            self.close_connection = cut

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

        def handle_expect_100(self) -> bool:
            self.send_response_only(100)
            self.end_headers()
            return True

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    faults.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
