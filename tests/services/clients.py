"""Clients that put load on servers and forget nothing they were told."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

import httpx

from tests.unit.serve.conftest import until

BODY = {"history": [{"item_id": "item-003"}, {"item_id": "item-009"}], "k": 10}
CLIENTS = 4
ENOUGH = 40
"""Answers seen after something happened, before it counts as survived."""


class Answer(NamedTuple):
    """One answer to `BODY`.

    Attributes:
        digest: of the bundle; the whole text of what is no answer.
        replica: who gave it, where servers say so.
    """

    status: int
    digest: str
    items: tuple[str, ...]
    replica: str


class Clients:
    """Clients that ask without pause, each on a connection of its own, and keep what they were answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._done = threading.Event()
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._done.is_set():
                try:
                    reply = client.post("/v1/recommend", json=BODY)
                    found = reply.json()
                    items = tuple(item["item_id"] for item in found.get("items", ()))
                    digest, replica = found.get("bundle_digest", reply.text), reply.headers.get("x-replica", "")
                    self.answers.append(Answer(reply.status_code, digest, items, replica))
                except Exception as error:
                    self.failures.append(repr(error))

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(60)

    def await_more(self) -> None:
        """Waits until enough requests that were sent after this moment have been answered, or one failed."""
        wanted = len(self.answers) + CLIENTS + ENOUGH
        until(lambda: len(self.answers) >= wanted or bool(self.failures), "answers under load")

    @property
    def told(self) -> tuple[Counter[int], list[str]]:
        return Counter(answer.status for answer in self.answers), self.failures

    @property
    def all_served(self) -> tuple[Counter[int], list[str]]:
        """What `told` is when nothing failed."""
        return Counter({200: len(self.answers)}), []

    @property
    def by_digest(self) -> dict[str, set[tuple[str, ...]]]:
        """Returns the answers that were given, by the bundle they say they are of."""
        found: dict[str, set[tuple[str, ...]]] = {}
        for answer in self.answers:
            found.setdefault(answer.digest, set()).add(answer.items)
        return found
