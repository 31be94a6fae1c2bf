"""Sealed folders to and from an object store: files first, manifest last, so that one is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core import artifacts
from pipeline.core.artifacts import MANIFEST
from pipeline.core.errors import CorruptArtifactError, MissingInputError
from pipeline.store.objects import Address, Objects

FILES_AT_ONCE = 4


def fetch(objects: Objects, place: Address, final: Path, remedy: str) -> bool:
    """Copies a folder to its place, every byte checked, and switches it in; False where the store has none.

    Args:
        remedy: what to do where the store holds other bytes.

    Raises: CorruptArtifactError: what the store holds is not what was sealed.
    """
    found = objects.read(place / MANIFEST)
    if found is None:
        return False

    def fill(folder: Path) -> None:
        (folder / MANIFEST).write_bytes(found[0])
        each(_names(found[0], str(place)), lambda name: _download(objects, place / name, folder / name))

    try:
        artifacts.receive(final, fill)
    except (CorruptArtifactError, MissingInputError) as error:
        raise CorruptArtifactError(
            f"{place}: what the shared store holds is not what was sealed; {remedy} ({str(error).rstrip('.')})."
        ) from None
    return True


def _download(objects: Objects, source: Address, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    objects.download(source, target)


def upload(objects: Objects, folder: Path, place: Address) -> bytes:
    """Copies every file of a sealed folder but its manifest, and returns that: put there last, it makes it whole."""
    manifest = (folder / MANIFEST).read_bytes()
    each(_names(manifest, str(folder)), lambda name: objects.upload(folder / name, place / name))
    return manifest


def each(things: Iterable[Any], act: Callable[[Any], object]) -> None:
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(act, things))


def _names(manifest: bytes, place: str) -> list[str]:
    """Returns the files a manifest lists.

    Raises: CorruptArtifactError: it is torn, or names a file outside its folder.
    """
    try:
        names = sorted(json.loads(manifest)["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(f"{place}: its {MANIFEST} cannot be read ({error}); make it again.") from None
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise CorruptArtifactError(f"{place}: its {MANIFEST} names {name!r}, which is not a file of this folder.")
    return names
