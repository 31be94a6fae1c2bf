"""A Redis of the tests' own, which can be killed and started again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.services.servers import free_port, listens, running, scratch

USER = "redis"
PASSWORD = "swordfish"


class Redis:
    """One server on one port, with nothing on disk.

    Attributes:
        url: its address with the password.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.port, self._options = folder, free_port(), options
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._running = ExitStack()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--requirepass", PASSWORD, *self._options]
        self._process = self._running.enter_context(running(command, self.folder, listens(self.port), USER))

    def kill(self) -> None:
        """Ends it at once, with all it held."""
        self._process.kill()
        self.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lets it take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._running.close()


@contextmanager
def redis(*options: str) -> Iterator[Redis]:
    """Runs Redis until the block ends."""
    with scratch("redis", USER) as folder:
        server = Redis(folder, *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
