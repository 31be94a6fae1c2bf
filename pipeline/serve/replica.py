"""What answers in one process, whoever carries requests to it: a champion that is followed, and the app over it."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import ExitStack
from pathlib import Path

from pipeline.core.errors import UsageError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.serve import answers, champion, tokens
from pipeline.serve.app import App
from pipeline.serve.audit import Audit
from pipeline.serve.champion import Champion
from pipeline.serve.guard import MAKE, Guard, is_loopback
from pipeline.serve.histories import UserHistories
from pipeline.serve.journal import Journal
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics
from pipeline.serve.mirror import places
from pipeline.serve.new_items import NewItems
from pipeline.serve.series import timed_collections
from pipeline.serve.tokens import Tokens
from pipeline.serve.watcher import Watcher

log = logging.getLogger("serve")


class Replica:
    """One of the servers of a shop. None knows of the others."""

    def __init__(
        self, settings: Settings, address: str, bundle: Path | None = None, *, is_encrypted: bool = False
    ) -> None:
        """`address` is the one requests come in at.

        Raises:
            UsageError: other machines can reach it and nobody needs a token.
            PipelineError: the bundle given may not be served.
        """
        self._poll_seconds = settings.serve.poll_seconds
        self.limits, self.metrics = Limits.of(settings.serve, settings.shop), Metrics()
        self.metrics.watch_promise(lambda: settings.gate.max_p99_ms / 1000)
        self.tokens = tokens_of(settings)
        guard = Guard(self.tokens, is_local(address, settings, self.tokens, is_encrypted), self.metrics)
        layout, rehearse = Layout(settings.store.root.resolve()), answers.rehearsal(self.limits)
        self._watcher, new_items = None, None
        if bundle:
            self.champion = Champion(self.metrics, champion.load(bundle, rehearse))
        else:
            self.champion = Champion(self.metrics)
            new_items = NewItems(
                self.champion, Journal(layout.new_items), settings.serve.max_live_items, settings.serve.live_item_days
            )
            self._watcher = Watcher(self.champion, new_items, *places(settings), rehearse, self._poll_seconds)
            self._watcher.look()
        self._histories = UserHistories.open(settings, self.metrics)
        self.app = App(self.champion, self.limits, self.metrics, guard, Audit(layout.audit), self._histories, new_items)
        self._running = ExitStack()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follows the pointer from now on; called on the event loop that answers."""
        # What is loaded by now lives as long as the process: the collector need not walk it between requests.
        gc.collect()
        gc.freeze()
        self._running.enter_context(timed_collections(self.metrics.collections))
        loop = asyncio.get_running_loop()
        self.champion.do = loop.call_soon_threadsafe
        if self._watcher:
            self._watcher.start()
        if self._histories:
            self._histories.start()
        self._looking = loop.create_task(self._look())

    async def stop(self) -> None:
        """Ends what runs beside the answers; called on the same event loop, when the last is given."""
        if self._looking:
            self._looking.cancel()
        if self._histories:
            await self._histories.close()
        if self._watcher:
            # What it hands over is taken by this loop, so the loop must go on until it has ended.
            await asyncio.to_thread(self._watcher.stop)
        self._running.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            # A file system that hangs must not hold up who is being answered.
            await asyncio.to_thread(self.tokens.look)


def tokens_of(settings: Settings) -> Tokens:
    return Tokens(tokens.file_of(settings), tokens.stated(settings.serve.token_digests))


def is_local(address: str, settings: Settings, known: Tokens, is_encrypted: bool) -> bool:
    """Returns whether only this machine can reach an address.

    Raises: UsageError: others can, and nobody needs a token.
    """
    if is_loopback(address):
        return True
    if not known:
        raise UsageError(
            f"serve.host {settings.serve.host} lets other machines ask and there is no token; make one with "
            f"{MAKE.format(scope='read')}, or set serve.host=127.0.0.1."
        )
    if not is_encrypted:
        log.warning("tokens travel in the clear: set serve.tls_certificate and serve.tls_key, or see to TLS before")
    return False
