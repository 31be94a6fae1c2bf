"""The process: a socket, an event loop, the watcher beside it, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import uvloop

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import UnavailableError, UsageError
from pipeline.core.settings import Settings
from pipeline.serve import logs
from pipeline.serve.champion import Champion
from pipeline.serve.connection import Connection
from pipeline.serve.desk import Desk
from pipeline.serve.replica import Replica
from pipeline.serve.tls import Certificate

BACKLOG = 2048
OTHER_FILES = 256
"""What a process opens beside its connections."""
log = logging.getLogger("serve")


class Service:
    """A server with its socket bound and its first bundle looked for; `run` blocks until it is told to end."""

    def __init__(self, settings: Settings, bundle: Path | None = None) -> None:
        """Raises: PipelineError: the port is taken, or the bundle given may not be served."""
        self._settings = settings.serve
        self._certificate = Certificate.of(settings.serve)
        self.socket = bind(settings.serve.host, settings.serve.port)
        try:
            address = self.socket.getsockname()[0]
            self.replica = Replica(settings, address, bundle, is_encrypted=bool(self._certificate))
        except UsageError:
            self.socket.close()
            raise
        app, limits, metrics = self.replica.app, self.replica.limits, self.replica.metrics
        self._desk = Desk(app, limits, metrics, settings.serve.access_log_share)
        self._loop = uvloop.new_event_loop()
        self._ending = asyncio.Event()

    @property
    def champion(self) -> Champion:
        return self.replica.champion

    @property
    def port(self) -> int:
        return self.socket.getsockname()[1]

    def run(self) -> None:
        """Serves until `stop`, SIGTERM or SIGINT, then drains."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def stop(self) -> None:
        """Asks `run` to drain and end; may be called from any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._ending.set)
        secured: dict[str, Any] = {}
        if self._certificate:
            seconds = self._settings.request_timeout_seconds
            secured = {"ssl": self._certificate.context, "ssl_handshake_timeout": seconds}
        listener = await loop.create_server(
            lambda: Connection(self._desk), sock=self.socket, backlog=BACKLOG, **secured
        )
        self.replica.start()
        beside = [loop.create_task(each) for each in (self._desk.sweep(), self._look())]
        await self._ending.wait()
        self.replica.app.draining = True
        self._ending.clear()
        with contextlib.suppress(TimeoutError):
            # Told a second time, it gives no more notice.
            await asyncio.wait_for(self._ending.wait(), self._settings.drain_notice_seconds)
        listener.close()
        await self._desk.drain(self._settings.drain_seconds)
        for task in beside:
            task.cancel()
        await self.replica.stop()

    async def _look(self) -> None:
        while self._certificate:
            await asyncio.sleep(self._settings.poll_seconds)
            # A file system that hangs must not hold up who is being answered.
            await asyncio.to_thread(self._certificate.look)


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


def allow_files(connections: int) -> None:
    """Lets this process hold so many connections, which are files to the system, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning(
            "serve.max_connections is %d and this process may open %d files; raise ulimit -n", connections, hard
        )
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(settings: Settings, bundle: Path | None, port_file: Path | None) -> None:
    """Serves until SIGTERM or SIGINT, then drains."""
    logs.set_up(settings.serve.log_format)
    allow_files(settings.serve.max_connections)
    service = Service(settings, bundle)
    if port_file:
        write_beside(port_file, f"{service.port}\n")
    scheme = "https" if settings.serve.tls_key else "http"
    log.info("listening on %s://%s:%s", scheme, settings.serve.host, service.port)
    if not service.champion.current:
        log.warning("%s", service.champion.problem)
    service.run()
    log.info("drained and ended")
