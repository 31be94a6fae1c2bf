"""Items put between retrains: written to the journal first, then taken into what is served, in the journal's order.

Every server of a store reads the same journal, so all hold the same items whoever was asked to put them. Only the event
loop changes what is served; the journal and the item tower work beside it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.core.errors import BusyError, PipelineError, from_os_error
from pipeline.model.live_items import LiveItem
from pipeline.serve.champion import Champion, Served
from pipeline.serve.exchange import Request, Response
from pipeline.serve.journal import Journal
from pipeline.serve.messages import PutBody, Refusal, read_items

NO_ROOM = 507
DAY_SECONDS = 86_400.0

log = logging.getLogger("serve")


class NewItems:
    """Takes items in and hands them to whatever is served."""

    def __init__(self, champion: Champion, journal: Journal, most: int, days: float) -> None:
        """Args: most: live items at once. days: so long one counts that no bundle knows."""
        self._champion, self._journal, self._most, self._days = champion, journal, most, days
        self._problem = ""
        # Held while the journal is read or written and what came of it is handed over, so that the order is one.
        self._turn = threading.Lock()
        self._hands = ThreadPoolExecutor(1, "new-items")

    # What the event loop calls.

    async def answer(self, request: Request) -> Response:
        """Answers `PUT /v1/items`. Raises: Refusal."""
        asked = read_items(request.body)
        served = self._champion.current
        if served is None:
            raise Refusal(503, self._champion.problem)
        now = time.time()
        items = [LiveItem(at=now, **{name: getattr(item, name) for name in item.__struct_fields__}) for item in asked]
        self._check(served, items)
        await asyncio.get_running_loop().run_in_executor(self._hands, self._put, items)
        served = self._champion.current or served
        new = len({item.item_id for item in items if not served.live.knows(item.item_id)})
        return Response.of(PutBody(len(items), new, len(served.live), served.version, served.digest))

    def _check(self, served: Served, items: Sequence[LiveItem]) -> None:
        wanted = served.retriever.config.vector_dim
        for item in items:
            if item.vector is not None and wanted and len(item.vector) != wanted:
                told = f"The vector of item {item.item_id!r} holds {len(item.vector)} numbers"
                raise Refusal(422, f"{told}, and this model reads {wanted}.")

    # What works beside it.

    def _put(self, items: Sequence[LiveItem]) -> None:
        def room() -> None:
            held = len(self._journal.latest.keys() | {item.item_id for item in items})
            if held > self._most:
                raise Refusal(
                    NO_ROOM,
                    f"With these there would be {held:,} live items and at most {self._most:,} are held "
                    "(serve.max_live_items); wait for the next bundle or raise the setting.",
                )

        with self._turn:
            try:
                found = self._journal.append(items, room)
            except OSError as error:
                raise _refused(error) from None
            self._hand_over(found, [])

    def look(self) -> None:
        """Reads what other servers have put, and forgets what has been held long enough."""
        try:
            with self._turn:
                found = self._journal.read()
                old = self._journal.forget(time.time() - self._days * DAY_SECONDS)
                if found or old:
                    self._hand_over(found, old)
                self._journal.compact()
            self._problem = ""
        except BusyError:
            pass
        except (OSError, PipelineError) as error:
            self._tell(sentence_of(error))

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            log.error("the journal of new items cannot be followed: %s", problem)
        self._problem = problem

    def _hand_over(self, items: Sequence[LiveItem], old: Sequence[str]) -> None:
        served = self._champion.current
        if served is None:
            return
        vectors_BD, chosen = _chosen(served, items)

        def change() -> None:
            now_served = self._champion.current
            assert now_served
            if now_served is served:
                served.live.put(chosen, vectors_BD)
            else:
                # A swap came between; it was handed the journal as it was then.
                again_BD, again = _chosen(now_served, items)
                now_served.live.put(again, again_BD)
            now_served.live.drop(old)

        self._champion.do(change)

    def take(self, served: Served) -> None:
        """Fills a bundle nobody asks yet with what counts for it, and puts it into service."""
        first = list(self._journal.latest.values())
        vectors_BD, chosen = _chosen(served, first)
        served.live.put(chosen, vectors_BD)
        with self._turn:
            vectors_BD, chosen = _chosen(served, list(self._journal.latest.values()))
            served.live.put(chosen, vectors_BD)
            served.live.drop(item.item_id for item in first if item.item_id not in self._journal.latest)
            self._champion.do(lambda: self._champion.take(served))


def _chosen(served: Served, items: Sequence[LiveItem]) -> tuple[Any, list[LiveItem]]:
    """Returns those that count for a bundle and are not in it yet, with their vectors."""
    chosen = [item for item in items if served.counts(item) and not served.live.holds(item)]
    return served.live.vectors_of(chosen), chosen


def _refused(error: OSError) -> Refusal:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return Refusal(NO_ROOM if full else 503, f"The items were not taken: {sentence_of(error)}")


def sentence_of(error: Exception) -> str:
    """Returns what a refusal, or a disk that does not do as it should, says to people."""
    if not isinstance(error, OSError):
        return str(error)
    return str(from_os_error(error) or f"{error.filename or 'the disk'}: {error.strerror or error}.")
