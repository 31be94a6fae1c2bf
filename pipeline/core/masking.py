"""Settings as others may read them: passwords in addresses, and values whose name says they are secret, are hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_IN_ADDRESS = re.compile(r"(://[^/?#:@\s]*):\S*@")
_IN_QUERY = re.compile(r"([?&][^=&\s]*(?:password|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
_SECRET_NAME = re.compile(r"secret|password|token|access[._]?key", re.IGNORECASE)


def shown(text: str) -> str:
    """Returns a text without the passwords of the addresses in it."""
    if "://" not in text:
        return text
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", text))


def masked(value: Any) -> Any:
    """Returns JSON values with what is secret in them hidden; secrets of type `SecretStr` are already."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {name: _named(str(name), each) for name, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list) else value


def _named(name: str, value: Any) -> Any:
    secret = isinstance(value, str) and value and _SECRET_NAME.search(name)
    return HIDDEN if secret else masked(value)
