"""Artifacts addressed by input key: written beside, sealed with a manifest, switched in whole.

An artifact is a folder `store/<stage>/<key>/` whose `manifest.json` lists every file with its SHA-256. It appears
by one rename, so it is whole or it is not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core.errors import CorruptArtifactError, MissingInputError

MANIFEST = "manifest.json"
PACKAGE = Path(__file__).resolve().parents[1]
HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
"""This machine, or container, as names of folders say it."""


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of a JSON value in canonical form, as 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_digest(stage: str) -> str:
    """Returns one digest of the code a stage depends on: its package, model, store, core and the lock file."""
    sources = [p for room in (stage, "model", "store", "core") for p in (PACKAGE / room).rglob("*") if _is_source(p)]
    lock = PACKAGE.parent / "requirements.txt"
    named = {str(p.relative_to(PACKAGE)): digest_of_file(p) for p in sorted(sources)}
    return digest_of({**named, "lock": digest_of_file(lock) if lock.exists() else ""})


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix in {".py", ".yaml", ".html"}


def input_key(stage: str, inputs: Mapping[str, str], sections: Mapping[str, Any]) -> str:
    """Returns the key of a pure step's output, 32 hex digits: what it reads, how it is set, and its code."""
    return digest_of({"stage": stage, "inputs": inputs, "settings": sections, "code": code_digest(stage)})[:32]


@dataclass(frozen=True)
class Artifact:
    """A sealed folder."""

    path: Path

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.path / MANIFEST).read_text())

    @property
    def digest(self) -> str:
        """Digest of the manifest: the files' bytes, and the stage, key and inputs they were made under."""
        return self.manifest["digest"]

    def file(self, name: str) -> Path:
        """Raises: MissingInputError: the artifact does not hold that file."""
        path = self.path / name
        if not path.exists():
            raise MissingInputError(f"{self.path}: holds no {name}; run the step that makes it again with --force.")
        return path

    def json(self, name: str) -> Any:
        return json.loads(self.file(name).read_text())

    def verify(self) -> None:
        """Raises: CorruptArtifactError: a file is missing, added, or not the bytes that were sealed."""
        verify_folder(self.path)


def seal(folder: Path, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Writes the manifest of everything in a folder and returns it.

    Args:
        extra: further fields the digest must cover.
    """
    files = {
        str(p.relative_to(folder)): {"sha256": digest_of_file(p), "bytes": p.stat().st_size} for p in _files(folder)
    }
    body = {**(extra or {}), "files": files}
    manifest = {**body, "digest": digest_of(body)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False))
    return manifest


def verify_folder(folder: Path) -> dict[str, Any]:
    """Checks every byte of a sealed folder against its manifest and returns the manifest.

    Raises: CorruptArtifactError: the manifest is torn, or a file is missing, added or changed.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        body = {name: value for name, value in manifest.items() if name != "digest"}
        expected = {name: entry["sha256"] for name, entry in manifest["files"].items()}
        whole = digest_of(body) == manifest["digest"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifactError(f"{folder}: its {MANIFEST} cannot be read ({error}); make it again.") from None
    if not whole:
        raise CorruptArtifactError(f"{folder}: its {MANIFEST} does not have the digest it states; make it again.")
    found = {str(p.relative_to(folder)): digest_of_file(p) for p in _files(folder)}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            what = (
                "is missing"
                if name not in found
                else "is not in the manifest"
                if name not in expected
                else "was changed"
            )
            raise CorruptArtifactError(
                f"{folder / name}: this file {what}; the folder is not what was sealed, make it again."
            )
    return manifest


def _files(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)


def switch_in(beside: Path, final: Path, replace: bool = False) -> None:
    """Puts a finished folder in its place by one rename; one already there wins unless it is to be replaced."""
    _sync(beside)
    final.parent.mkdir(parents=True, exist_ok=True)
    if replace and final.exists():
        aside = beside.with_suffix(".old")
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
        beside.rename(final)
        shutil.rmtree(aside)
        return
    try:
        beside.rename(final)
    except OSError:
        if not (final / MANIFEST).exists():
            raise


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def build(
    final: Path, fill: Callable[[Path], None], extra: Mapping[str, Any] | None = None, replace: bool = False
) -> Artifact:
    """Fills a folder beside its place, seals it and switches it in; a failure leaves nothing visible."""
    with _beside(final) as beside:
        fill(beside)
        seal(beside, extra)
        switch_in(beside, final, replace)
    return Artifact(final)


def receive(final: Path, fill: Callable[[Path], None]) -> Artifact:
    """Fills a folder beside its place with what was sealed elsewhere, manifest included, and switches it in.

    Raises: CorruptArtifactError: it is not what was sealed; nothing is visible then.
    """
    with _beside(final) as beside:
        fill(beside)
        verify_folder(beside)
        switch_in(beside, final)
    return Artifact(final)


def place_beside(final: Path, end: str) -> Path:
    """Returns a hidden place beside a folder's own; its name says which process of which machine works there."""
    return final.with_name(f".{final.name[:16]}.{HOST}.{os.getpid()}.{end}")


@contextmanager
def _beside(final: Path) -> Iterator[Path]:
    beside = place_beside(final, "tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_beside(path: Path, text: str, mode: int = 0o666) -> None:
    """Replaces a small file in one step; a reader sees the old text or the new, never a part.

    Args:
        mode: who may read and write it, less what the process masks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # writing to a full disk names no file
        raise
    finally:
        beside.unlink(missing_ok=True)
