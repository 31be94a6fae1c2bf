"""Secrets are generated once, into a file only its owner can read, and handed on by environment alone."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from stack.places import Places

ADMIN, REVIEWER = "admin", "reviewer"
ROLES = {ADMIN: "admin", REVIEWER: "user"}
ADMIN_PASSWORD, REVIEWER_PASSWORD = "NIGHTSHIFT_ADMIN_PASSWORD", "NIGHTSHIFT_REVIEWER_PASSWORD"
GENERATED: dict[str, Callable[[], str]] = {
    "PIPELINE_SECRETS__PSEUDONYM_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "AIRFLOW__CORE__FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    ADMIN_PASSWORD: lambda: secrets.token_urlsafe(12),
    REVIEWER_PASSWORD: lambda: secrets.token_urlsafe(12),
}


def load_or_generate(places: Places) -> dict[str, str]:
    """Returns every secret of the stack: the environment's, else the file's, else a new one put into the file."""
    known = read(places.secrets)
    missing = {name: generate() for name, generate in GENERATED.items() if name not in known}
    if missing:
        known |= missing
        write_private(places.secrets, "".join(f"{name}={value}\n" for name, value in known.items()))
    places.secrets.chmod(0o600)
    current = {name: os.environ.get(name) or value for name, value in known.items()}
    passwords = {ADMIN: current[ADMIN_PASSWORD], REVIEWER: current[REVIEWER_PASSWORD]}
    write_private(places.passwords, json.dumps(passwords))
    return current


def read(path: Path) -> dict[str, str]:
    """Returns the `NAME=value` lines of a file; nothing when it does not exist."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; at no moment can others read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    beside.replace(path)
