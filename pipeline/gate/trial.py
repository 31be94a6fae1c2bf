"""The real server, started as the command everybody uses, and a plain client that asks it.

The client speaks HTTP/1.1 over one kept-alive socket with requests made beforehand, so that its own cost, the same for
every server, stays far below the server's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import PipelineError
from pipeline.core.settings import Settings

HOST = "127.0.0.1"
ANSWER_TIMEOUT_SECONDS = 30.0
STOP_SECONDS = 30


class TrialError(PipelineError):
    """A server did not start, ended, or did not answer.

    Attributes:
        server: which, such as `challenger`.
    """

    def __init__(self, server: str, sentence: str) -> None:
        super().__init__(sentence)
        self.server = server


@dataclass
class Trial:
    """A server under test.

    Attributes:
        start_seconds: from the command to the first ready answer.
    """

    process: subprocess.Popen[bytes]
    client: Client
    start_seconds: float

    @contextmanager
    def clients(self, number: int) -> Iterator[list[Client]]:
        """Opens further connections while the block runs."""
        with ExitStack() as stack:
            yield [stack.enter_context(closing(self.client.another())) for _ in range(number)]

    def memory_mb(self) -> float:
        """Returns the process's resident memory in MB of 10^6 bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kibibytes) * 1024 / 1e6

    def cpu_seconds(self) -> float:
        """Returns the process's CPU time so far, user and system, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int, server: str) -> None:
        self.port, self.server = port, server
        self._socket = socket.create_connection((HOST, port), timeout=ANSWER_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def another(self) -> Client:
        """Connects to the same server once more."""
        return Client(self.port, self.server)

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a whole request and returns status and body.

        Raises: TrialError: the server closed the connection or did not answer in time.
        """
        self.send(request)
        return self._receive()

    def send(self, request: bytes) -> None:
        """Raises: TrialError: the server closed the connection."""
        try:
            self._socket.sendall(request)
        except OSError as error:
            raise self._silent(error) from None

    def receive_answer(self) -> None:
        """Waits for an answer. Raises: TrialError: there is none, or it is not 200."""
        status, body = self._receive()
        if status != 200:
            said = body[:200].decode(errors="replace")
            raise TrialError(self.server, f"The {self.server}'s server answered a test request with {status}: {said}")

    def _receive(self) -> tuple[int, bytes]:
        try:
            received = self._socket.recv(65536)
            while b"\r\n\r\n" not in received:
                received += self._more()
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            while len(body) < length:
                body += self._more()
        except OSError as error:
            raise self._silent(error) from None
        return int(head[9:12]), body

    def _silent(self, error: OSError) -> TrialError:
        return TrialError(self.server, f"The {self.server}'s server did not answer ({error}).")

    def _more(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("it closed the connection")
        return part


def post(path: str, body: Any) -> bytes:
    """Returns the bytes of a POST request."""
    content = json.dumps(body).encode()
    kind = f"content-type: application/json\r\ncontent-length: {len(content)}"
    return f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\n{kind}\r\n\r\n".encode() + content


def get(path: str) -> bytes:
    """Returns the bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode()


@contextmanager
def started(bundle: Path, settings: Settings, scratch: Path, name: str) -> Iterator[Trial]:
    """Runs `python -m pipeline serve --bundle …` on a free port while the block runs.

    Args:
        scratch: folder for its port file and log.
        name: of the two files, such as `challenger`.

    Raises: TrialError: it ended or was not ready in time; the sentence holds its last words.
    """
    port_file, log = scratch / f"{name}.port", scratch / f"{name}.log"
    port_file.unlink(missing_ok=True)
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(_command(bundle, settings, port_file), stdout=output, stderr=output)
    try:
        client = _ready(process, name, port_file, log, settings.gate.start_timeout_seconds)
        try:
            yield Trial(process, client, time.monotonic() - began)
        finally:
            client.close()
    finally:
        _end(process)


def _command(bundle: Path, settings: Settings, port_file: Path) -> list[str]:
    same = {f"serve.{n}": v for n, v in settings.serve.model_dump(mode="json").items() if n.startswith("max_")}
    # Nobody but this process reaches it: no tokens, whatever the store's and the environment's are.
    same |= {"serve.host": HOST, "serve.tokens_file": port_file.with_suffix(".tokens"), "serve.token_digests": []}
    same |= {"shop.k": settings.shop.k}
    assignments = [f"--set={name}={value}" for name, value in same.items()]
    words = ["-m", "pipeline", "serve", f"--bundle={bundle}", "--port=0", f"--port-file={port_file}"]
    return [sys.executable, *words, f"--parent={os.getpid()}", *assignments]


def _ready(process: subprocess.Popen[bytes], name: str, port_file: Path, log: Path, timeout_seconds: float) -> Client:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            code = process.returncode
            raise TrialError(name, f"The server ended with exit code {code} before it was ready: {_last_line(log)}")
        if port_file.exists():
            client = Client(int(port_file.read_text()), name)
            status, body = client.ask(get("/readyz"))
            if status == 200:
                return client
            raise TrialError(name, f"The server is not ready: {json.loads(body)['problem']}")
        time.sleep(0.02)
    raise TrialError(name, f"The server was not ready within {timeout_seconds:g} seconds: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
