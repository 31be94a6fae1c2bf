"""Where a server finds its champion: under the store's root, or in the store that machines share.

What is fetched from there is kept beside, so that a server starts again while that store does not answer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pipeline.core.artifacts import MANIFEST, write_beside
from pipeline.core.errors import CorruptArtifactError, MissingInputError, UnavailableError
from pipeline.core.run import Layout
from pipeline.core.settings import Settings
from pipeline.model.bundle import open_bundle
from pipeline.store.bundles import SharedBundles

KEPT_BUNDLES = 2


class Pointing(Protocol):
    """A pointer's text, wherever it is; its `str` says where."""

    def read_text(self) -> str:
        """Raises: FileNotFoundError: there is none. PipelineError: it cannot be had."""


def places(settings: Settings) -> tuple[Pointing, Callable[[str], Path]]:
    """Returns the champion's pointer, and what gives a bundle's folder by its digest."""
    layout = Layout(settings.store.root.resolve())
    shared = SharedBundles.open(settings)
    if shared is None:
        return layout.pointer, layout.bundle
    mirror = Mirror(shared, layout)
    return mirror, mirror.folder


class Mirror:
    """Copies of what the shared store points to, under `followed` of the root; the last two bundles are kept."""

    def __init__(self, shared: SharedBundles, layout: Layout) -> None:
        self._shared, self._layout = shared, layout
        self._cache = layout.root / "followed"
        self._kept = self._cache / "champion.json"
        self._text = ""

    def __str__(self) -> str:
        return str(self._shared.pointer_address)

    def read_text(self) -> str:
        """Reads the shared pointer; the one followed before counts if the store does not answer when this begins.

        Raises: FileNotFoundError: there is none. UnavailableError: the store does not answer.
        """
        try:
            found = self._shared.pointer()
        except UnavailableError:
            if self._text or not self._kept.exists():
                raise
            found = self._kept.read_text()
        if found is None:
            raise FileNotFoundError(str(self))
        self._text = found
        return found

    def folder(self, digest: str) -> Path:
        """Returns a bundle's folder, after fetching it where neither promotion nor this left it on this machine.

        Raises: MissingInputError: the store has none. CorruptArtifactError: what it has is not what was sealed.
        """
        promoted, final = self._layout.bundle(digest), self._cache / digest
        if (promoted / MANIFEST).exists():
            return promoted
        if not self._is_whole(final) and not self._shared.fetch(final):
            raise MissingInputError(
                f"{self}: names bundle {digest[:12]}, which is not there; "
                "run `python -m pipeline reconcile` where it was promoted."
            )
        write_beside(self._kept, self._text)
        self._forget(final)
        return final

    @staticmethod
    def _is_whole(final: Path) -> bool:
        """Returns whether a bundle is in the cache; one that was changed there is taken out of it."""
        try:
            open_bundle(final, final.name)
        except MissingInputError:
            return False
        except CorruptArtifactError:
            shutil.rmtree(final)
            return False
        return True

    def _forget(self, newest: Path) -> None:
        bundles = [path for path in self._cache.iterdir() if path.is_dir() and not path.name.startswith(".")]
        others = sorted((path for path in bundles if path != newest), key=lambda path: path.stat().st_mtime)
        for old in others[: 1 - KEPT_BUNDLES]:
            shutil.rmtree(old, ignore_errors=True)
