"""Who may ask: tokens, known by their SHA-256 alone.

A token is 256 random bits, so there is nothing to guess and no dictionary to try: a fast hash keeps it as safe at rest
as a slow one would, and a slow one, made for passwords, would cost every request. A file whose digests leak lets
nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import stat
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from pipeline.core.artifacts import write_beside
from pipeline.core.errors import CorruptArtifactError, PipelineError, SettingsError, UsageError
from pipeline.core.locks import in_turn
from pipeline.core.run import Layout
from pipeline.core.settings import Settings

PREFIX = "nightshift_"
"""Lets those who look for secrets in texts find one."""
MAX_TOKEN_BYTES = 256
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_DIGEST = r"[0-9a-f]{64}"
_STATED = re.compile(rf"({_NAME}):(read|write|admin):({_DIGEST})")
ScopeName = Literal["read", "write", "admin"]
log = logging.getLogger("serve")


class Scope(IntEnum):
    """What a route asks for; each includes those before it."""

    OPEN = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token as it is kept."""

    name: Annotated[str, msgspec.Meta(pattern=f"^{_NAME}$")]
    scope: ScopeName
    sha256: Annotated[str, msgspec.Meta(pattern=f"^{_DIGEST}$")]
    made_at: datetime | None = None

    @property
    def may(self) -> Scope:
        return Scope[self.scope.upper()]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: list[Token]


def file_of(settings: Settings) -> Path:
    """Returns where the tokens of these settings are kept."""
    return settings.serve.tokens_file or Layout(settings.store.root.resolve()).tokens


def digest_of(token: bytes) -> str:
    return hashlib.sha256(token).hexdigest()


def read(path: Path) -> list[Token]:
    """Returns the tokens of a file; none where there is no file.

    Raises: CorruptArtifactError: it cannot be read, is not whole, or others than its owner may write it.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(path.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH):
                raise CorruptArtifactError(f"{path}: others may write it and let themselves in; run chmod 600 on it.")
            tokens = msgspec.json.decode(file.read(), type=_File).tokens
    except FileNotFoundError:
        return []
    except OSError as error:
        why = error.strerror or error
        raise CorruptArtifactError(f"{path}: cannot be read ({why}); give the server's user access.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptArtifactError(
            f"{path}: is no file of tokens ({error}); mend it, or remove it and add the tokens anew."
        ) from None
    names = [token.name for token in tokens]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CorruptArtifactError(f"{path}: holds {twice[0]} twice; a token's name says who asked, keep one.")
    return tokens


def add(path: Path, name: str, scope: ScopeName) -> str:
    """Makes a token, keeps its digest and returns it; nobody can read it again.

    Raises: UsageError: no name for a token, or there is one of that name. CorruptArtifactError: as `read`.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(f"The name {name[:64]!r} must be letters, digits, dots, dashes and underscores, at most 64.")
    token = PREFIX + secrets.token_urlsafe(32)
    with in_turn(path.with_name(f".{path.name}.lock")):
        known = read(path)
        if name in [each.name for each in known]:
            raise UsageError(f"{path}: there is a token {name} already; remove it first, or choose another name.")
        now = datetime.now(UTC).replace(microsecond=0)
        _write(path, [*known, Token(name, scope, digest_of(token.encode()), now)])
    return token


def remove(path: Path, name: str) -> None:
    """Raises: UsageError: there is none of that name. CorruptArtifactError: as `read`."""
    with in_turn(path.with_name(f".{path.name}.lock")):
        known = read(path)
        kept = [token for token in known if token.name != name]
        if len(kept) == len(known):
            told = ", ".join(token.name for token in known) or "none"
            raise UsageError(f"{path}: there is no token {name[:64]!r}; known are {told}.")
        _write(path, kept)


def _write(path: Path, tokens: list[Token]) -> None:
    text = msgspec.json.format(msgspec.json.encode(_File(tokens)), indent=1).decode()
    write_beside(path, text + "\n", mode=0o600)


def stated(texts: Iterable[str]) -> list[Token]:
    """Returns the tokens of `serve.token_digests`.

    Raises: SettingsError: one is not NAME:SCOPE:SHA256, or two have one name.
    """
    tokens = []
    for text in texts:
        found = _STATED.fullmatch(text)
        if not found or found[1] in [token.name for token in tokens]:
            raise SettingsError(
                "serve.token_digests holds an entry that is not NAME:SCOPE:SHA256, such as shop:read: and 64 hex "
                "digits, or a name twice; `python -m pipeline token add` prints what to put there."
            )
        tokens.append(Token(found[1], found[2], found[3]))  # type: ignore[arg-type]
    return tokens


class Tokens:
    """The tokens a server knows; a file that changes is taken up, one that does not hold is not."""

    def __init__(self, path: Path, stated: Sequence[Token] = ()) -> None:
        """Raises: CorruptArtifactError: as `read`."""
        self._path, self._stated = path, tuple(stated)
        self._seen = _state(path)
        self._known = (*self._stated, *read(path))
        self.problem = ""

    def __bool__(self) -> bool:
        return bool(self._known)

    def find(self, presented: bytes) -> Token | None:
        """Returns the token presented, if it is known; takes as long whichever it is."""
        if len(presented) > MAX_TOKEN_BYTES:
            return None
        digest, found = digest_of(presented), None
        for token in self._known:
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found

    def look(self) -> None:
        """Reads the file again if it changed. One that is torn or gone changes nothing: nobody is let in by a fault."""
        state = _state(self._path)
        if state == self._seen:
            return
        self._seen = state
        try:
            if state is None:
                raise CorruptArtifactError(f"{self._path}: is gone; add a token, or start the server again.")
            known = (*self._stated, *read(self._path))
        except PipelineError as error:
            self.problem = f"Still holding to the tokens known before: {error}"
            log.error("%s", self.problem, extra={"event": "tokens"})
        else:
            self._known, self.problem = known, ""
            log.info("%d tokens are known now", len(known), extra={"event": "tokens"})


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
