"""Asks the server what a customer would ask, and looks at what the night decided."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipeline.core.run import Layout
from pipeline.model.bundle import ITEMS
from pipeline.model.catalogue import Catalogue

SHOWN_ITEMS = 5
SECONDS_TO_SWAP = 15.0


@dataclass(frozen=True)
class Exchange:
    """One request and what came back."""

    path: str
    body: dict[str, Any]
    status: int
    answer: dict[str, Any]


def ask(url: str, root: Path) -> list[Exchange]:
    """Asks the running server for a recommendation and a search, about an item its champion knows."""
    item_id, title = _known_item(root)
    history = [{"item_id": item_id, "event_type": "view"}] if item_id else []
    recommend = {"history": history, "k": SHOWN_ITEMS}
    search = {"query": " ".join(title.split()[:2]) or "gift", "k": SHOWN_ITEMS}
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        return [_exchange(client, "/v1/recommend", recommend), _exchange(client, "/v1/search", search)]


def await_champion(url: str, root: Path) -> None:
    """Waits until the server serves the champion the pointer names, for as long as a swap may take."""
    digest = Layout(root).champion()
    until = time.monotonic() + SECONDS_TO_SWAP
    while digest and time.monotonic() < until:
        answer = httpx.post(f"{url}/v1/recommend", json={"k": 1}, timeout=10, trust_env=False)
        if answer.is_success and answer.json().get("bundle_digest") == digest:
            return
        time.sleep(0.2)


def _known_item(root: Path) -> tuple[str, str]:
    """Returns id and title of a well-known item with a title; empty where no champion of this format stands."""
    digest = Layout(root).champion()
    items = Layout(root).bundle(digest or "none") / ITEMS
    if not items.exists():
        return "", ""
    catalogue = Catalogue.load(items)
    _, rows = catalogue.popular(len(catalogue), (), None)
    titles = catalogue.columns["title"]
    row = next((row for row in rows if titles[row]), rows[0])
    return catalogue.ids[row], titles[row] or ""


def _exchange(client: httpx.Client, path: str, body: dict[str, Any]) -> Exchange:
    answer = client.post(path, json=body)
    return Exchange(path, body, answer.status_code, answer.json())


def decision_of(root: Path, run_id: str) -> dict[str, Any] | None:
    """Returns the gate's record of a run, or None when it came to none."""
    path = Layout(root).runs / run_id / "decision" / "decision.json"
    return json.loads(path.read_text()) if path.exists() else None
