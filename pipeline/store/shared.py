"""Artifacts that machines share: files first, manifest last, so that an artifact is whole or it is not there."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.artifacts import HOST, MANIFEST
from pipeline.store import transfer
from pipeline.store.leases import Leases, leased
from pipeline.store.objects import Address, Found, connect

if TYPE_CHECKING:
    from pipeline.core.settings import Settings


def open_shared(settings: Settings) -> SharedStore | None:
    """Returns the store that machines share, or None where everything stays under the root."""
    if not settings.store.shared:
        return None
    return SharedStore(settings)


class SharedStore:
    """`<prefix>/store/<stage>/<key>/…` for every artifact; the root's own copy is a cache of it."""

    def __init__(self, settings: Settings) -> None:
        self.objects, self.address = connect(settings.s3), Address.parse(settings.store.shared)
        self._settings = settings

    def at(self, stage: str, key: str) -> Address:
        return self.address / f"store/{stage}/{key}"

    def keys(self, stage: str) -> list[str]:
        """Returns the keys of every whole artifact of a stage."""
        return sorted(key for key, files in self._files(stage).items() if MANIFEST in files)

    def halves(self, stage: str) -> dict[str, float]:
        """Returns the keys of what has no manifest, being made or left so, and when each was last touched."""
        files = self._files(stage)
        return {key: max(f.modified for f in each.values()) for key, each in files.items() if MANIFEST not in each}

    def _files(self, stage: str) -> dict[str, dict[str, Found]]:
        place = self.address / f"store/{stage}/"
        files: dict[str, dict[str, Found]] = defaultdict(dict)
        for found in self.objects.list(place):
            key, _, name = found.address.key.removeprefix(place.key).partition("/")
            files[key][name] = found
        return files

    def weigh(self, stage: str, key: str) -> int:
        """Returns the bytes of an artifact."""
        return sum(found.size_bytes for found in self.objects.list(self.at(stage, key) / ""))

    def fetch(self, stage: str, final: Path) -> bool:
        """Copies an artifact to its place under the root, every byte checked; False where the store has none.

        Raises: CorruptArtifactError: what the store holds is not what was sealed.
        """
        return transfer.fetch(
            self.objects, self.at(stage, final.name), final, "make it again with --force, which replaces it there"
        )

    def push(self, stage: str, final: Path, replace: bool = False) -> None:
        """Copies an artifact to the shared store unless one is there; one there wins unless it is to be replaced.

        Raises: BusyError: another process pushes one of this key, whose bytes may be others.
        """
        place = self.at(stage, final.name)
        if not replace and self.objects.find(place / MANIFEST) is not None:
            return
        with leased(self._settings, f"push {stage} {final.name}", f"by process {os.getpid()} on {HOST}"):
            self._push(final, place, replace)

    def _push(self, final: Path, place: Address, replace: bool) -> None:
        if replace:
            self.objects.delete(place / MANIFEST)
        elif self.objects.find(place / MANIFEST) is not None:
            return
        manifest = transfer.upload(self.objects, final, place)
        Leases.open(self._settings).require_held()
        self.objects.put(place / MANIFEST, manifest)

    def remove(self, stage: str, key: str) -> None:
        """Takes an artifact away, its manifest first; none there is no error."""
        place = self.at(stage, key)
        self.objects.delete(place / MANIFEST)
        transfer.each([f.address for f in self.objects.list(place / "")], self.objects.delete)
