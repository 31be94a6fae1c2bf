"""Finds and opens raw files in a folder or under an `s3://` prefix; bytes are streamed, never copied to disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.core import artifacts
from pipeline.core.errors import UsageError
from pipeline.store.objects import SCHEME, Address, Objects, connect

if TYPE_CHECKING:
    from pipeline.core.sections import S3
    from pipeline.core.settings import Settings

_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class RawFile:
    """One file of a source.

    Attributes:
        name: its path below the source, for people and for quarantine.
        location: a path or an `s3://` address.
        digest: SHA-256 of a local file's bytes; of an object, of its entity tag and size.
        objects, etag: where an object is and which version was found; not for local files.
    """

    name: str
    location: str
    digest: str
    objects: Objects | None = field(default=None, compare=False, repr=False)
    etag: str = field(default="", compare=False)

    def open(self) -> BinaryIO:
        """Streams the file's bytes; an object replaced since it was found is an error."""
        if self.objects is None:
            return Path(self.location).open("rb")
        return self.objects.open(Address.parse(self.location), self.etag)


def find(settings: Settings, pattern: str) -> list[RawFile]:
    """Returns the files below `ingest.source` that a glob pattern names, in order of name; none is an empty list.

    Raises:
        UsageError: the source is not there, or a directory lies where the file should.
        PipelineError: the object store does not answer, or refuses; see `store.refusals`.
    """
    source = settings.ingest.source
    if source.startswith(SCHEME):
        return _find_objects(settings.s3, Address.parse(source), pattern)
    return _find_files(Path(source), pattern)


def _find_files(folder: Path, pattern: str) -> list[RawFile]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"The source folder {folder} {what}; set ingest.source to the folder that holds the raw logs.")
    paths = sorted(folder.glob(pattern)) if _WILDCARDS & set(pattern) else [folder / pattern]
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a directory; a file of logs was expected there.")
    return [RawFile(str(p.relative_to(folder)), str(p), _digest(p)) for p in paths if p.exists()]


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of_version(path, stat.st_mtime_ns, stat.st_size)


@cache
def _digest_of_version(path: Path, modified_ns: int, size_bytes: int) -> str:
    return artifacts.digest_of_file(path)


def _find_objects(section: S3, source: Address, pattern: str) -> list[RawFile]:
    objects = connect(section)
    plain = pattern[: min((pattern.find(c) for c in _WILDCARDS if c in pattern), default=len(pattern))]
    found = []
    for entry in objects.list(source / plain):
        name = entry.address.key[len((source / "").key) :]
        if _fits(name, pattern):
            version = hashlib.sha256(f"{entry.etag} {entry.size_bytes}".encode()).hexdigest()
            found.append(RawFile(name, str(entry.address), version, objects, entry.etag))
    return sorted(found, key=lambda file: file.name)


def _fits(name: str, pattern: str) -> bool:
    """Says whether a glob pattern names an object; as on disk, an asterisk stays within one folder."""
    parts, wanted = name.split("/"), pattern.split("/")
    if len(parts) != len(wanted):
        return False
    return all(part and fnmatchcase(part, want) for part, want in zip(parts, wanted, strict=True))
