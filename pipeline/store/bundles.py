"""Release bundles and the champion's pointer where machines share them, for servers that share no disk.

`<prefix>/bundles/<digest>/…` and `<prefix>/serving/champion.json`, as they lie under a root. A bundle is named by its
bytes, so two machines that push one push the same, and no lease is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.artifacts import MANIFEST
from pipeline.store import transfer
from pipeline.store.objects import Address, connect

if TYPE_CHECKING:
    from pipeline.core.settings import Settings

_REMEDY = "remove it there and run `python -m pipeline reconcile` where the bundle was promoted"


def fetch_missing(shared: SharedBundles | None, bundle: Path) -> None:
    """Copies a bundle that another machine promoted to its place here.

    Raises: CorruptArtifactError: what the store holds is not what was sealed.
    """
    if shared and not (bundle / MANIFEST).exists():
        shared.fetch(bundle)


class SharedBundles:
    """What promotion leaves for servers, and what they fetch."""

    def __init__(self, settings: Settings) -> None:
        self._objects, self._address = connect(settings.s3), Address.parse(settings.store.shared)

    @classmethod
    def open(cls, settings: Settings) -> SharedBundles | None:
        """Returns None where everything stays under the root."""
        return cls(settings) if settings.store.shared else None

    @property
    def pointer_address(self) -> Address:
        return self._address / "serving/champion.json"

    def pointer(self) -> str | None:
        """Returns the pointer's text; None where there is none."""
        found = self._objects.read(self.pointer_address)
        return None if found is None else found[0].decode("utf-8", "replace")

    def point(self, text: str | None) -> None:
        """Replaces the pointer, or with None takes it away; one that says so already is left alone."""
        if text == self.pointer():
            return
        if text is None:
            self._objects.delete(self.pointer_address)
        else:
            self._objects.put(self.pointer_address, text.encode())

    def push(self, bundle: Path) -> None:
        """Copies a bundle there, unless it is there whole."""
        place = self._place(bundle.name)
        if self._objects.find(place / MANIFEST) is None:
            self._objects.put(place / MANIFEST, transfer.upload(self._objects, bundle, place))

    def fetch(self, final: Path) -> bool:
        """Copies a bundle to a place of that name, every byte checked; False where there is none.

        Raises: CorruptArtifactError: what the store holds is not what was sealed.
        """
        return transfer.fetch(self._objects, self._place(final.name), final, _REMEDY)

    def digests(self) -> set[str]:
        """Returns whose bundles, whole or not, lie there."""
        place = self._address / "bundles/"
        return {found.address.key.removeprefix(place.key).partition("/")[0] for found in self._objects.list(place)}

    def weigh(self, digest: str) -> int:
        """Returns the bytes of a bundle."""
        return sum(found.size_bytes for found in self._objects.list(self._place(digest) / ""))

    def remove(self, digest: str) -> None:
        """Takes a bundle away, its manifest first; none there is no error."""
        place = self._place(digest)
        self._objects.delete(place / MANIFEST)
        transfer.each([found.address for found in self._objects.list(place / "")], self._objects.delete)

    def _place(self, digest: str) -> Address:
        return self._address / f"bundles/{digest}"
