"""The process: a socket, an event loop, the watcher beside it, and an orderly end."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import UnavailableError, UsageError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.serve import answers, champion
from pipeline.serve.app import App
from pipeline.serve.champion import Champion, Watcher
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics

BACKLOG = 2048
DRAIN_SECONDS = 20
log = logging.getLogger("serve")


class Server(uvicorn.Server):
    """Ends with exit code 0 after a drain: uvicorn itself raises the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Service:
    """A server with its socket bound and its first bundle looked for; `run` blocks until it is told to end."""

    def __init__(self, settings: Settings, bundle: Path | None = None) -> None:
        """Raises: PipelineError: the port is taken, or the bundle given may not be served."""
        limits, metrics = Limits.of(settings.serve, settings.shop), Metrics()
        rehearse = answers.rehearsal(limits)
        self.socket = bind(settings.serve.host, settings.serve.port)
        self._watcher = None
        if bundle:
            self.champion = Champion(metrics, champion.load(bundle, rehearse))
        else:
            self.champion = Champion(metrics)
            layout = Layout(settings.store.root.resolve())
            self._watcher = Watcher(self.champion, layout.pointer, layout.bundle, rehearse, settings.serve.poll_seconds)
            self._watcher.look()
        self.server = Server(_config(App(self.champion, limits, metrics)))

    @property
    def port(self) -> int:
        return self.socket.getsockname()[1]

    def run(self) -> None:
        # What is loaded by now lives as long as the process: the collector need not walk it between requests.
        gc.collect()
        gc.freeze()
        if self._watcher:
            self._watcher.start()
        try:
            self.server.run(sockets=[self.socket])
        finally:
            if self._watcher:
                self._watcher.stop()

    def stop(self) -> None:
        """Asks `run` to drain and end."""
        self.server.should_exit = True


def _config(app: Any) -> uvicorn.Config:
    # Its access log quotes paths, and paths hold item ids.
    logging.getLogger("uvicorn.access").disabled = True
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
    )


def bind(host: str, port: int) -> socket.socket:
    """Takes the port, so that a second server is refused before it loads anything.

    Raises: UnavailableError: in use. UsageError: no such address, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listening at once makes the port's owner certain; connections wait until the loop accepts them.
        listener.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UnavailableError(
                f"Port {port} of {host} is in use; stop what listens there or give another --port, 0 for a free one."
            ) from None
        raise UsageError(
            f"Cannot listen on {host}:{port} ({error.strerror or error}); set serve.host or port."
        ) from None
    return listener


def serve(settings: Settings, bundle: Path | None, port_file: Path | None) -> None:
    """Serves until SIGTERM or SIGINT, then drains."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    service = Service(settings, bundle)
    if port_file:
        write_beside(port_file, f"{service.port}\n")
    log.info("listening on http://%s:%s", settings.serve.host, service.port)
    if not service.champion.current:
        log.warning("%s", service.champion.problem)
    service.run()
    log.info("drained and ended")
