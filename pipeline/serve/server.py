"""The process: a socket, an event loop, the watcher beside it, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import ssl
import threading
from pathlib import Path

import uvloop

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import UnavailableError, UsageError
from pipeline.core.run import Layout
from pipeline.core.sections import Serve
from pipeline.core.settings import Settings
from pipeline.serve import answers, champion
from pipeline.serve.app import App
from pipeline.serve.champion import Champion
from pipeline.serve.connection import Connection
from pipeline.serve.desk import Desk
from pipeline.serve.histories import UserHistories
from pipeline.serve.journal import Journal
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics
from pipeline.serve.new_items import NewItems
from pipeline.serve.series import timed_collections
from pipeline.serve.watcher import Watcher

BACKLOG = 2048
log = logging.getLogger("serve")


class Service:
    """A server with its socket bound and its first bundle looked for; `run` blocks until it is told to end."""

    def __init__(self, settings: Settings, bundle: Path | None = None) -> None:
        """Raises: PipelineError: the port is taken, or the bundle given may not be served."""
        self._settings = settings.serve
        limits, metrics = Limits.of(settings.serve, settings.shop), Metrics()
        self._metrics = metrics
        metrics.watch_promise(lambda: settings.gate.max_p99_ms / 1000)
        rehearse = answers.rehearsal(limits)
        self._tls = tls(settings.serve)
        self.socket = bind(settings.serve.host, settings.serve.port)
        self._watcher, new_items = None, None
        if bundle:
            self.champion = Champion(metrics, champion.load(bundle, rehearse))
        else:
            self.champion = Champion(metrics)
            layout = Layout(settings.store.root.resolve())
            new_items = NewItems(
                self.champion, Journal(layout.new_items), settings.serve.max_live_items, settings.serve.live_item_days
            )
            self._watcher = Watcher(
                self.champion, new_items, layout.pointer, layout.bundle, rehearse, settings.serve.poll_seconds
            )
            self._watcher.look()
        self._histories = UserHistories.open(settings, metrics)
        self._app = App(self.champion, limits, metrics, self._histories, new_items)
        self._desk = Desk(self._app, limits, metrics)
        self._loop = uvloop.new_event_loop()
        self._ending = asyncio.Event()

    @property
    def port(self) -> int:
        return self.socket.getsockname()[1]

    def run(self) -> None:
        """Serves until `stop`, SIGTERM or SIGINT, then drains."""
        # What is loaded by now lives as long as the process: the collector need not walk it between requests.
        gc.collect()
        gc.freeze()
        with (
            timed_collections(self._metrics.collections),
            asyncio.Runner(loop_factory=lambda: self._loop) as runner,
        ):
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
        listener = await loop.create_server(
            lambda: Connection(self._desk), sock=self.socket, ssl=self._tls, backlog=BACKLOG
        )
        self.champion.do = loop.call_soon_threadsafe
        if self._watcher:
            self._watcher.start()
        sweeping = loop.create_task(self._desk.sweep())
        if self._histories:
            self._histories.start()
        await self._ending.wait()
        self._app.draining = True
        await asyncio.sleep(self._settings.drain_notice_seconds)
        listener.close()
        await self._desk.drain(self._settings.drain_seconds)
        sweeping.cancel()
        if self._histories:
            await self._histories.close()
        if self._watcher:
            # What it hands over is taken by this loop, so the loop must go on until it has ended.
            await loop.run_in_executor(None, self._watcher.stop)


def tls(serve: Serve) -> ssl.SSLContext | None:
    """Raises: UsageError: the certificate or its key is missing, cannot be read, or they do not fit."""
    if not (serve.tls_certificate or serve.tls_key):
        return None
    if not (serve.tls_certificate and serve.tls_key):
        raise UsageError("TLS needs a certificate and its key; set both serve.tls_certificate and serve.tls_key.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(serve.tls_certificate, serve.tls_key)
    except OSError as error:
        raise UsageError(
            f"serve.tls_certificate {serve.tls_certificate} and serve.tls_key {serve.tls_key} cannot be used "
            f"({error.strerror or error}); they must be a PEM chain and its PEM key."
        ) from None
    return context


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
    service = Service(settings, bundle)
    if port_file:
        write_beside(port_file, f"{service.port}\n")
    scheme = "https" if settings.serve.tls_key else "http"
    log.info("listening on %s://%s:%s", scheme, settings.serve.host, service.port)
    if not service.champion.current:
        log.warning("%s", service.champion.problem)
    service.run()
    log.info("drained and ended")
