"""Settings of the recommendation server."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.core.sections import Section


class Serve(Section):
    """The recommendation server."""

    host: str = Field("127.0.0.1", description="Address it listens on.")
    port: int = Field(8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    poll_seconds: float = Field(1.0, gt=0, description="How often the champion's pointer is read.")
    max_live_items: int = Field(
        10_000, ge=1, description="Items put by PUT /v1/items that are held at once; one more gets 507."
    )
    live_item_days: float = Field(30, gt=0, description="How long a put item counts that no bundle came to know.")
    max_body_bytes: int = Field(262_144, ge=1024, description="Larger requests get 413.")
    max_k: int = Field(500, ge=1, description="Largest k a request may ask for.")
    max_history: int = Field(1000, ge=1, description="Longest history a request may send; the newest count.")
    max_batch: int = Field(100, ge=1, description="Most requests in one batch.")
    max_connections: int = Field(2000, ge=1, description="Connections held at once; one more gets 503.")
    max_queue: int = Field(
        128, ge=1, description="Requests that may wait for their turn; one more gets 503 and Retry-After at once."
    )
    max_wait_milliseconds: float = Field(250, gt=0, description="A request that waited longer for its turn gets 503.")
    request_timeout_seconds: float = Field(
        10, gt=0, description="How long the bytes of a request may take to arrive, and those of an answer to be taken."
    )
    keep_alive_seconds: float = Field(75, gt=0, description="How long a connection nobody asks on stays open.")
    drain_notice_seconds: float = Field(
        0, ge=0, description="After SIGTERM, how long /readyz says no while requests are still taken; for balancers."
    )
    drain_seconds: float = Field(20, gt=0, description="How long what is being answered may take at the end.")
    tls_certificate: Path | None = Field(None, description="PEM file of the certificates; unset is plain HTTP.")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    tokens_file: Path | None = Field(
        None, description="File of the tokens' digests; unset is serve/tokens.json below the store's root."
    )
    token_digests: tuple[str, ...] = Field(
        (), description="Tokens beside those of the file, each as NAME:SCOPE:SHA256; as JSON list in the environment."
    )
    log_format: Literal["plain", "json"] = Field(
        "plain", description="How the server's log is written: lines for people, or one JSON object a line."
    )
    access_log_share: float = Field(
        0, ge=0, le=1, description="Share of requests that are logged: route, status, time taken, request id."
    )
