"""Objects of an S3 store: listed, streamed, uploaded and conditionally replaced, through boto3."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pipeline.core.errors import BusyError, DataError, PipelineError, UsageError
from pipeline.store.refusals import NOT_THERE, REPLACED, answered, sentence_of
from pipeline.store.stream import Stream

if TYPE_CHECKING:
    from pipeline.core.sections import S3

SCHEME = "s3://"
PARTS_AT_ONCE = 4
MOST_PARTS = 10_000
BUFFER_BYTES = 1 << 20
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Address:
    """`s3://BUCKET/KEY`, or a prefix of keys."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises: UsageError: it names no bucket."""
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise UsageError(f"{text!r} names no bucket; write it as s3://BUCKET/PREFIX.")
        return cls(bucket, key.rstrip("/"))

    def __truediv__(self, name: str) -> Address:
        return Address(self.bucket, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Found:
    """One object of a listing.

    Attributes:
        modified: unix seconds, by the store's clock.
    """

    address: Address
    etag: str
    size_bytes: int
    modified: float


class Objects:
    """What one endpoint keeps.

    Every method ends in one sentence when the store refuses: `MissingInputError` for what is not there,
    `UnavailableError` for a store that does not answer after all tries, `PipelineError` for what no retry mends.
    """

    def __init__(self, section: S3) -> None:
        self.section = section

    @cached_property
    def client(self) -> Any:
        """The SDK's client; safe to share between threads."""
        import boto3

        section = self.section
        where = {"endpoint_url": section.endpoint_url or None, "region_name": section.region or None}
        return boto3.session.Session().client("s3", **where, config=_config(section))

    @cached_property
    def _sealed(self) -> dict[str, str]:
        """What every upload asks for: encryption at rest."""
        asked = {"ServerSideEncryption": self.section.encryption}
        if self.section.encryption == "aws:kms":
            asked["SSEKMSKeyId"] = self.section.kms_key_id
        return {name: value for name, value in asked.items() if value}

    @contextmanager
    def asking(self, address: Address) -> Iterator[None]:
        """Turns what the SDK raises into one sentence."""
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:
            known = sentence_of(error, str(address), self.section)
            if known is None:
                raise
            raise known from None

    def list(self, prefix: Address) -> Iterator[Found]:
        """Yields every object whose key begins with the prefix's, in order of key."""
        with self.asking(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.key)
            for page in pages:
                for entry in page.get("Contents", []):
                    address, modified = Address(prefix.bucket, entry["Key"]), entry["LastModified"].timestamp()
                    yield Found(address, entry["ETag"], entry["Size"], modified)

    def find(self, address: Address) -> Found | None:
        """Returns what the store says of one object; None where there is none."""
        with self.asking(address):
            try:
                head = self.client.head_object(Bucket=address.bucket, Key=address.key)
            except Exception as error:
                if answered(error) not in NOT_THERE:
                    raise
                return None
        return Found(address, head["ETag"], head["ContentLength"], head["LastModified"].timestamp())

    def read(self, address: Address) -> tuple[bytes, str] | None:
        """Returns a small object's bytes and entity tag; None where there is none."""
        with self.asking(address):
            try:
                answer = self.client.get_object(Bucket=address.bucket, Key=address.key)
            except Exception as error:
                if answered(error) not in NOT_THERE:
                    raise
                return None
            with Stream(self, address, answer) as stream:
                return stream.readall(), answer["ETag"]

    def open(self, address: Address, etag: str = "") -> BinaryIO:
        """Streams an object; a connection that breaks is taken up again where it broke.

        Args:
            etag: of the version meant; without it, of the version found.

        Raises: MissingInputError: there is none. DataError: another version is there, now or midway.
        """
        answer = self.get(address, etag)
        return io.BufferedReader(Stream(self, address, answer), BUFFER_BYTES)  # type: ignore[return-value]

    def get(self, address: Address, etag: str = "", first_byte: int = 0) -> dict[str, Any]:
        """Asks once for an object from a byte on."""
        more = {"IfMatch": etag} if etag else {}
        if first_byte:
            more["Range"] = f"bytes={first_byte}-"
        with self.asking(address):
            try:
                answer = self.client.get_object(Bucket=address.bucket, Key=address.key, **more)
            except Exception as error:
                if answered(error) not in REPLACED:
                    raise
                answer = None
        if answer is None:
            raise DataError(f"{address}: this object was replaced while it was being read; run the step again.")
        if first_byte and not answer.get("ContentRange", "").startswith(f"bytes {first_byte}-"):
            raise PipelineError(f"{address}: the object store ignores byte ranges, which resumed reading needs.")
        return answer

    def download(self, address: Address, path: Path) -> None:
        """Copies an object into a file."""
        with self.open(address) as stream, path.open("wb") as file:
            while chunk := stream.read(BUFFER_BYTES):
                file.write(chunk)

    def put(self, address: Address, body: bytes) -> str:
        """Writes a small object and returns its entity tag."""
        with self.asking(address):
            return self._put(address, body)

    def replace(self, address: Address, body: bytes, etag: str | None) -> str:
        """Writes an object only where this version stands (None: where none does), in one conditional request.

        Raises: BusyError: another version stands there. SettingsError: the store knows no such requests.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with self.asking(address):
            try:
                return self._put(address, body, **condition)
            except Exception as error:
                if answered(error) not in {*REPLACED, *NOT_THERE}:
                    raise
        raise BusyError(f"{address}: another process replaced this object; run the step again.")

    def _put(self, address: Address, body: bytes, **more: str) -> str:
        answer = self.client.put_object(
            Bucket=address.bucket, Key=address.key, Body=body, **self._guard(body), **self._sealed, **more
        )
        return answer["ETag"]

    def _guard(self, body: bytes) -> dict[str, str]:
        """Returns the checksum sent with bytes; the SDK works the CRC out by itself."""
        if self.section.checksums == "crc32":
            return {"ChecksumAlgorithm": "CRC32"}
        return {"ContentMD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}

    def upload(self, path: Path, address: Address) -> None:
        """Writes a file as one object, in parts when it is larger than `s3.part_mb`."""
        size, part = path.stat().st_size, self.section.part_mb * MEGABYTE
        if size <= part:
            self.put(address, path.read_bytes())
            return
        with self.asking(address):
            self._upload_parts(path, address, size, max(part, -(-size // MOST_PARTS)))

    def _upload_parts(self, path: Path, address: Address, size: int, part: int) -> None:
        place = {"Bucket": address.bucket, "Key": address.key}
        kind = {"ChecksumAlgorithm": "CRC32"} if self.section.checksums == "crc32" else {}
        begun = {**place, "UploadId": self.client.create_multipart_upload(**place, **kind, **self._sealed)["UploadId"]}
        try:
            with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
                numbers = range(1, -(-size // part) + 1)
                parts = list(pool.map(lambda number: self._upload_part(path, begun, number, part), numbers))
            self._complete(begun, parts, size)
        except BaseException:
            self._abandon(begun)
            raise

    def _upload_part(self, path: Path, begun: dict[str, Any], number: int, part: int) -> dict[str, Any]:
        with path.open("rb") as file:
            file.seek((number - 1) * part)
            body = file.read(part)
        answer = self.client.upload_part(**begun, PartNumber=number, Body=body, **self._guard(body))
        kept = {name: answer[name] for name in ("ETag", "ChecksumCRC32") if name in answer}
        return {"PartNumber": number, **kept}

    def _complete(self, begun: dict[str, Any], parts: list[dict[str, Any]], size: int) -> None:
        try:
            self.client.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts})
        except Exception as error:
            # A retry after an answer that got lost finds the upload completed, hence gone.
            found = self.find(Address(begun["Bucket"], begun["Key"])) if answered(error) == "NoSuchUpload" else None
            if found is None or found.size_bytes != size:
                raise

    def _abandon(self, begun: dict[str, Any]) -> None:
        try:
            self.client.abort_multipart_upload(**begun)
        except Exception as error:  # what made the upload fail is told, not this
            if sentence_of(error, begun["Key"], self.section) is None:
                raise

    def delete(self, address: Address) -> None:
        """Takes an object away; none there is no error."""
        with self.asking(address):
            self.client.delete_object(Bucket=address.bucket, Key=address.key)


@cache
def connect(section: S3) -> Objects:
    """Returns the objects of an endpoint, the same ones for equal settings."""
    return Objects(section)


def _config(section: S3) -> Any:
    from botocore.config import Config

    newer = section.checksums == "crc32"
    return Config(
        retries={"total_max_attempts": section.max_attempts, "mode": "standard"},
        connect_timeout=section.connect_timeout_seconds,
        read_timeout=section.read_timeout_seconds,
        s3={"addressing_style": "path" if section.path_style else "auto"},
        request_checksum_calculation="when_supported" if newer else "when_required",
        response_checksum_validation="when_supported" if newer else "when_required",
        tcp_keepalive=True,
    )
