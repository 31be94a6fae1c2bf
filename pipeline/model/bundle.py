"""The release bundle: everything a server needs, sealed under one digest, and the only way in or out of it.

Equal files and equal facts give equal digests: nothing in it names a run, a time of day or a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.artifacts import MANIFEST, seal, verify_folder
from pipeline.core.errors import CorruptArtifactError, MissingInputError
from pipeline.model.packed import read_json

FORMAT_VERSION = 5

QUERY_TOWER = "query_tower.tflite.gz"
ITEM_TOWER = "item_tower.tflite.gz"
INDEX = "item_index.faiss"
WORDS, WORD_SHARES = "words.faiss", "word_shares.npy"
ITEMS = "items.npz.gz"
TOWERS = "towers.json"
REPEATS = "repeats.json"
LEXICAL = "lexical.json"
GOLDEN = "golden.json.gz"
FILES = (QUERY_TOWER, ITEM_TOWER, INDEX, WORDS, WORD_SHARES, ITEMS, TOWERS, REPEATS, LEXICAL, GOLDEN)
FACTS = ("recipe", "data_end", "keys", "index")
WARMUPS = 8


@dataclass(frozen=True)
class Bundle:
    """A verified release bundle."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """64 hex digits over every file and fact; the bundle's name."""
        return self.manifest["digest"]

    @property
    def recipe(self) -> str:
        return self.manifest["recipe"]

    @property
    def data_end(self) -> str:
        """ISO time, UTC: nothing later was seen by training or choice."""
        return self.manifest["data_end"]

    @property
    def bytes(self) -> int:
        """Size of its files on disk, the manifest aside."""
        return sum(entry["bytes"] for entry in self.manifest["files"].values())

    def file(self, name: str) -> Path:
        return self.path / name

    @property
    def goldens(self) -> list[dict[str, Any]]:
        """Requests with the answers this very bundle gave: `{"path", "request", "answer"}`."""
        return read_json(self.file(GOLDEN))

    @property
    def warmups(self) -> list[dict[str, Any]]:
        """Requests to send before traffic: the first of the goldens."""
        return self.goldens[:WARMUPS]


def seal_bundle(folder: Path, facts: Mapping[str, Any]) -> Bundle:
    """Closes a filled folder as a release bundle.

    Args:
        facts: `recipe`, `data_end`, `keys` (of the artifacts it comes from) and `index` (kind, recall against exact).

    Raises: MissingInputError: a file or fact of the format is not there.
    """
    missing = [n for n in FILES if not (folder / n).is_file()] + [n for n in FACTS if n not in facts]
    if missing:
        raise MissingInputError(f"{folder}: a release bundle needs {', '.join(missing)}; write it before sealing.")
    return Bundle(folder, seal(folder, {"format_version": FORMAT_VERSION, **facts}))


def open_bundle(folder: Path, digest: str | None = None) -> Bundle:
    """Verifies every byte of a bundle and opens it.

    Args:
        digest: the one it must have, where the caller was promised one.

    Raises:
        MissingInputError: there is no bundle.
        CorruptArtifactError: torn, tampered, of parts of different bundles, of another format, or not the one promised.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingInputError(f"{folder}: there is no release bundle here; run `python -m pipeline optimize` first.")
    manifest = verify_folder(folder)
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise CorruptArtifactError(
            f"{folder}: the bundle has format version {version!r} and this program reads {FORMAT_VERSION}; "
            "make the bundle again with this version, or serve it with the one that made it."
        )
    missing = [n for n in FILES if n not in manifest["files"]] + [n for n in FACTS if n not in manifest]
    if missing:
        raise CorruptArtifactError(f"{folder}: the bundle lacks {', '.join(missing)}; make it again.")
    if digest and manifest["digest"] != digest:
        raise CorruptArtifactError(
            f"{folder}: the bundle's digest is {manifest['digest'][:12]}, expected {digest[:12]}; "
            "something put another bundle in its place, publish the right one again."
        )
    return Bundle(folder, manifest)
