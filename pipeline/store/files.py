"""Finds and opens raw files in a folder or under an `s3://` prefix; bytes are streamed, never copied to disk."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.core import artifacts
from pipeline.core.errors import MissingInputError, UnavailableError, UsageError

S3 = "s3://"
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class RawFile:
    """One file of a source.

    Attributes:
        name: its path below the source, for people and for quarantine.
        location: a path or an `s3://` address.
        digest: SHA-256 of a local file's bytes; entity tag and size of an object.
    """

    name: str
    location: str
    digest: str

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Streams the file's bytes."""
        if not self.location.startswith(S3):
            with Path(self.location).open("rb") as file:
                yield file
            return
        bucket, key = _parted(self.location)
        with _speaking_to(self.location):
            body = _client().get_object(Bucket=bucket, Key=key)["Body"]
        try:
            yield body  # type: ignore[misc]
        finally:
            body.close()


def find(source: str, pattern: str) -> list[RawFile]:
    """Returns the files below a source that a glob pattern names, in order of name; none is an empty list.

    Raises:
        UsageError: the source is not there, or a directory lies where the file should.
        UnavailableError: the object store does not answer or refuses.
    """
    return _find_objects(source, pattern) if source.startswith(S3) else _find_files(Path(source), pattern)


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


def _find_objects(source: str, pattern: str) -> list[RawFile]:
    bucket, prefix = _parted(source)
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    plain = prefix + pattern[: min((pattern.find(c) for c in _WILDCARDS if c in pattern), default=len(pattern))]
    found: list[RawFile] = []
    with _speaking_to(source):
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=plain):
            for entry in page.get("Contents", []):
                name = entry["Key"].removeprefix(prefix)
                if fnmatch.fnmatchcase(name, pattern):
                    version = hashlib.sha256(f"{entry['ETag']} {entry['Size']}".encode()).hexdigest()
                    found.append(RawFile(name, f"{S3}{bucket}/{entry['Key']}", version))
    return sorted(found, key=lambda file: file.name)


def _parted(location: str) -> tuple[str, str]:
    bucket, _, key = location.removeprefix(S3).partition("/")
    if not bucket:
        raise UsageError(f"{location!r} names no bucket; write it as s3://BUCKET/PREFIX.")
    return bucket, key


@cache
def _client() -> Any:
    import boto3

    return boto3.client("s3")


@contextmanager
def _speaking_to(location: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error")
        if code in {"NoSuchBucket", "NoSuchKey", "404"}:
            raise MissingInputError(f"{location}: there is no such bucket or object; check ingest.source.") from None
        raise UnavailableError(
            f"{location}: the object store answered {code}; check credentials and endpoint."
        ) from None
    except BotoCoreError as error:
        raise UnavailableError(f"{location}: the object store cannot be reached ({error}).") from None
