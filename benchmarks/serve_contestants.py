"""Who is measured by `serve`, and a server of theirs while it runs: pinned, awaited, asked, weighed, ended."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.load import HOST
from benchmarks.peers.environments import python_of
from benchmarks.serve_models import COMPRESSED, FLOAT, Model
from pipeline.model.goldens import RECOMMEND

REPOSITORY = Path(__file__).resolve().parents[1]
SERVER_CORE, CLIENT_CORE = (sorted(os.sched_getaffinity(0)) * 2)[:2]
STARTS_WITHIN, ENDS_WITHIN = 300.0, 20.0
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "UVICORN_ACCESS_LOG": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "true",
}
"""Everybody computes on one thread, and nobody writes a line a request."""


@dataclass(frozen=True)
class Contestant:
    """One way to serve the model.

    Attributes:
        title: as tables name it.
        words: of the command behind the interpreter, from the model and a port.
        environment: of `peers/`; empty for this project's own.
        path: where it is asked.
        wraps: the request's JSON and the answer's are inside a list, as MLflow has it.
        recipe: of the bundle it answers as.
    """

    name: str
    title: str
    words: Callable[[Model, int], Sequence[str]]
    environment: str = ""
    path: str = RECOMMEND
    wraps: bool = False
    recipe: str = FLOAT

    @property
    def python(self) -> Path:
        return python_of(self.environment) if self.environment else Path(sys.executable)

    def asked(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Returns requests of a model as this server and the load client take them."""
        bodies = ({"inputs": [each["request"]]} if self.wraps else each["request"] for each in requests)
        return [{"method": "POST", "path": self.path, "body": body} for body in bodies]

    def told(self, content: bytes) -> dict[str, Any]:
        """Returns what an answer says: items and fallback."""
        answer = json.loads(content)
        return answer["predictions"][0] if self.wraps else answer


def _ours(recipe: str) -> Callable[[Model, int], list[str]]:
    return lambda model, port: ["-m", "pipeline", "serve", "--bundle", str(model.bundle(recipe)), "--port", str(port)]


def _uvicorn(_: Model, port: int) -> list[str]:
    words = ["-m", "uvicorn", "benchmarks.peers.serve_fastapi:app", "--host", HOST, "--port", str(port)]
    return [*words, "--workers", "1", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]


def _bento(_: Model, port: int) -> list[str]:
    return ["-m", "bentoml", "serve", "benchmarks.peers.serve_bentoml:Recommender", "--host", HOST, "--port", str(port)]


def _mlflow(model: Model, port: int) -> list[str]:
    words = ["-m", "mlflow", "models", "serve", "--model-uri", str(model.packed), "--env-manager", "local"]
    return [*words, "--host", HOST, "--port", str(port), "--workers", "1"]


OURS = Contestant("ours", "ours", _ours(FLOAT))
OURS_COMPRESSED = Contestant("compressed", f"ours, compressed ({COMPRESSED})", _ours(COMPRESSED), recipe=COMPRESSED)
PEERS = {
    peer.name: peer
    for peer in (
        Contestant("mlflow", "mlflow models serve", _mlflow, "serve_mlflow", "/invocations", wraps=True),
        Contestant("bentoml", "BentoML", _bento, "serve_bentoml"),
        Contestant("fastapi", "FastAPI", _uvicorn, "serve_fastapi"),
    )
}


class Server:
    """A contestant's processes, on one core, from their start to their end.

    Attributes: start_seconds: until it answered a real request.
    """

    def __init__(
        self, contestant: Contestant, model: Model, words: Callable[[Model, int], Sequence[str]] | None = None
    ) -> None:
        """Args: words: where they are others than the contestant's."""
        self.contestant, self._model = contestant, model
        self.port = free_port()
        self._log = model.folder.with_name(f"{model.folder.name}-{contestant.name}.log")
        python = contestant.python
        given = {**os.environ, **ENVIRONMENT, "SERVE_MODEL": str(model.folder), "PYTHONPATH": str(REPOSITORY)}
        given["PATH"] = f"{python.parent}{os.pathsep}{given['PATH']}"
        command = [str(python), *(words or contestant.words)(model, self.port)]
        begun = time.perf_counter()
        with self._log.open("w") as log, on_core(SERVER_CORE):
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, env=given, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._await()
        except BaseException:
            self.end()
            raise
        self.start_seconds = time.perf_counter() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def answers(self, requests: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Asks one after the other. Raises: RuntimeError: one is refused."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        found = []
        for each in self.contestant.asked(requests):
            connection.request("POST", each["path"], json.dumps(each["body"]), {"content-type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(f"{self.contestant.title} answers {response.status}: {content[-8000:]!r}")
            found.append(content)
        connection.close()
        return found

    def get(self, path: str) -> Any:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def cpu_seconds(self) -> float:
        """Returns what all its processes have computed so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def memory_mb(self) -> float:
        """Returns what all its processes hold, what several of them share counted once."""
        return sum(process.memory_full_info().pss for process in self._processes()) / 2**20

    def end(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _processes(self) -> list[psutil.Process]:
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]

    def _await(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self.answers(self._model.requests[:1])
                return
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        raise RuntimeError(f"{self.contestant.title} did not come up:\n{self._log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return taken.getsockname()[1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
