"""A request and its answer, whatever carries them: the socket of this process or another server's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.serve.messages import encode

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
MOST_LETTERS = 400
RETRY_AFTER = (b"retry-after", b"1")


class Request(NamedTuple):
    """What was asked.

    Attributes:
        path: percent-decoded, without the query string.
        headers: by lower-case name; only those of `READ` need be there.
        arrived: `time.perf_counter` when its last byte had arrived.
    """

    method: str
    path: str
    query_string: bytes = b""
    headers: Mapping[bytes, bytes] = {}
    body: bytes = b""
    arrived: float = 0.0


class Response(NamedTuple):
    """What is answered; `headers` are beside those every answer has."""

    status: int
    content: bytes
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Response:
        return cls(status, encode(value))

    @classmethod
    def refusal(cls, status: int, sentence: str, *headers: tuple[bytes, bytes]) -> Response:
        if len(sentence) > MOST_LETTERS:
            # What it quotes may be as long as a request; how it begins and what to do, at its end, are kept.
            sentence = f"{sentence[: MOST_LETTERS - 100]} … {sentence[-97:]}"
        return cls(status, encode({"error": sentence}), JSON, headers)


AUTHORIZATION, REQUEST_ID, EXPECT, HOST = b"authorization", b"x-request-id", b"expect", b"host"
CONTENT_LENGTH, TRANSFER_ENCODING, FETCH_SITE = b"content-length", b"transfer-encoding", b"sec-fetch-site"
READ = frozenset({AUTHORIZATION, REQUEST_ID, EXPECT, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, FETCH_SITE})
"""The headers anything here looks at; the others are counted and dropped."""
MAX_REQUEST_ID = 64
_ALLOWED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def allowed_id(given: bytes | None) -> bytes | None:
    """Returns a client's request id if it may stand in a log, else None."""
    return given if given and len(given) <= MAX_REQUEST_ID and _ALLOWED.issuperset(given) else None
