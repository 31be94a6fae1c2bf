"""Pseudonyms: HMAC-SHA-256 of person ids, made before a row reaches the engine, so that raw ids reach no disk.

A pseudonym is `<64 hex digits>.<key id>`, so that the key it was made with is known and prefixes stay distinct.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.core.sections import Secrets

Pseudonymise = Callable[[pa.StringArray], pa.StringArray]
KEY_ID_DIGITS = 8
PATTERN = r"[0-9a-f]{64}\.[0-9a-f]{8}"
_BLOCK_BYTES = 64
_Hash = Callable[[str], str]


def pseudonymiser(key: str, previous: Iterable[str] = (), erased: Collection[str] = ()) -> Pseudonymise:
    """Returns a function from raw ids to pseudonyms; nulls stay null.

    Each distinct id of a batch is hashed once and joined back by its place in the dictionary. Remembering the ids of
    earlier batches as well costs more than it saves.

    Args:
        previous: keys in force before.
        erased: pseudonyms of who was forgotten. Somebody forgotten under a previous key is called by that pseudonym,
            which is the one thing known of them, so that the rule `erased` finds their rows.
    """
    named = _named(key, previous, erased)

    def pseudonymise(ids: pa.StringArray) -> pa.StringArray:
        coded = ids.dictionary_encode()
        return pa.array([named(raw) for raw in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)

    return pseudonymise


def pseudonyms(raw: str, secrets: Secrets) -> tuple[str, ...]:
    """Returns what one person is called under the present key, then under each previous one."""
    return tuple(
        _hasher(key)(raw) for key in dict.fromkeys([secrets.require("pseudonym_key"), *previous_keys(secrets)])
    )


def previous_keys(secrets: Secrets) -> tuple[str, ...]:
    """Returns the keys in force before the present one.

    Raises: SettingsError: one is empty.
    """
    keys = tuple(key.get_secret_value() for key in secrets.previous_pseudonym_keys)
    if not all(keys):
        raise SettingsError("A key of secrets.previous_pseudonym_keys is empty; take it out or give the key.")
    return keys


def key_id(key: str) -> str:
    """Returns what pseudonyms made with this key end with."""
    return fingerprint(key)[:KEY_ID_DIGITS]


def fingerprint(key: str) -> str:
    """Returns what tells two keys apart without saying either."""
    return hmac.digest(key.encode(), b"the fingerprint of a pseudonym key", "sha256").hex()


def _named(key: str, previous: Iterable[str], erased: Collection[str]) -> _Hash:
    present = _hasher(key)
    gone = frozenset(erased)
    under = {name.rpartition(".")[2] for name in gone}
    older = [_hasher(each) for each in previous if key_id(each) in under and each != key]
    if not older:
        return present

    def named(raw: str) -> str:
        return next((name for hashed in older if (name := hashed(raw)) in gone), None) or present(raw)

    return named


def _hasher(key: str) -> _Hash:
    """HMAC (RFC 2104) with the two keyed states made once and copied: 2.4 times as fast as `hmac.digest` an id."""
    secret, ending = key.encode(), f".{key_id(key)}"
    block = (secret if len(secret) <= _BLOCK_BYTES else hashlib.sha256(secret).digest()).ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block)).copy
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block)).copy

    def hashed(raw: str) -> str:
        inside, outside = inner(), outer()
        inside.update(raw.encode())
        outside.update(inside.digest())
        return outside.hexdigest() + ending

    return hashed
