"""Pseudonyms: HMAC-SHA-256 of person ids, made before a row reaches the engine, so that raw ids reach no disk."""

from __future__ import annotations

import hmac
from collections.abc import Callable

import pyarrow as pa

Pseudonymise = Callable[[pa.StringArray], pa.StringArray]


def pseudonymiser(key: str) -> Pseudonymise:
    """Returns a function from raw ids to 64 hex digits each; nulls stay null.

    Each distinct id of a batch is hashed once and joined back by its place in the dictionary.
    """
    secret = key.encode()

    def pseudonymise(ids: pa.StringArray) -> pa.StringArray:
        coded = ids.dictionary_encode()
        hashed = [_hash(secret, raw) for raw in coded.dictionary.to_pylist()]
        return pa.array(hashed, pa.string()).take(coded.indices)

    return pseudonymise


def fingerprint(key: str) -> str:
    """Returns what tells two keys apart without saying either."""
    return _hash(key.encode(), "the fingerprint of a pseudonym key")


def _hash(secret: bytes, text: str) -> str:
    return hmac.digest(secret, text.encode(), "sha256").hex()
