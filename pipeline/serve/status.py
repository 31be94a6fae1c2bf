"""What the server says of itself, and every refusal."""

from __future__ import annotations

from typing import Any

import msgspec


class ErrorBody(msgspec.Struct):
    """Every refusal: one sentence that says what was found and what to do."""

    error: str


class AliveBody(msgspec.Struct):
    """The process answers."""

    alive: bool


class ReadyBody(msgspec.Struct, kw_only=True):
    """Whether requests should be sent here, and what keeps it from the newest champion, if anything does."""

    ready: bool
    model_version: Any = None
    bundle_digest: str | None = None
    sequence: int | None = None
    problem: str | None = None


class ModelBody(msgspec.Struct, kw_only=True):
    """The bundle that is served; `sequence` is that of its ledger entry, 0 where it is served by hand;
    `items` counts those put since, too."""

    model_version: Any
    bundle_digest: str
    sequence: int
    items: int
    live_items: int
    recipe: str
    data_end: str
    index: dict[str, Any]
    bytes: int
