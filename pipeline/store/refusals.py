"""What an object store's refusals mean to a person, and whether trying again may help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.core.errors import (
    MissingInputError,
    MissingSecretError,
    PipelineError,
    SettingsError,
    UnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from pipeline.core.sections import S3

NOT_THERE = frozenset({"NoSuchKey", "404", "NotFound"})
REPLACED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
CREDENTIALS = (
    "see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile or role) are of somebody who may do this"
)
_SENTENCES: Mapping[str, tuple[type[PipelineError], str]] = {
    "NoSuchBucket": (MissingInputError, "there is no such bucket; make it, or correct its name"),
    **dict.fromkeys(NOT_THERE, (MissingInputError, "there is no such object; see that nobody deleted it")),
    **dict.fromkeys(
        ("AccessDenied", "403", "Forbidden", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        (PipelineError, f"access is denied; {CREDENTIALS}"),
    ),
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"),
        (PipelineError, "the credentials or this machine's clock are out of date; renew them"),
    ),
    **dict.fromkeys(
        ("NotImplemented", "501", "InvalidEncryptionAlgorithmError", "KMS.NotFoundException", "InvalidArgument"),
        (SettingsError, "the store cannot do this; set s3.conditional_writes, s3.encryption or s3.checksums as it can"),
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        (SettingsError, "the bucket is of another region or endpoint; correct s3.region and s3.endpoint_url"),
    ),
    "InvalidBucketName": (UsageError, "the store allows no such name of a bucket; correct it"),
    "BadDigest": (UnavailableError, "the bytes were changed on their way; run the step again"),
}
_SERVER_IS_UNWELL = frozenset({"SlowDown", "Throttling", "RequestTimeout", "TooManyRequests", "InternalError"})


def answered(error: Exception) -> str:
    """Returns the code of the store's answer; empty when it did not answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def lost_connection(error: Exception) -> bool:
    """Says whether an answer broke off on its way."""
    from botocore.exceptions import ConnectionError, HTTPClientError, IncompleteReadError

    return isinstance(error, HTTPClientError | ConnectionError | IncompleteReadError | OSError)


def sentence_of(error: Exception, place: str, section: S3) -> PipelineError | None:
    """Returns what to tell a person; None for what is no refusal of the store.

    Args:
        place: bucket and key it was about.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return _of_answer(error, place, section)
    return _of_sdk(error, place, section) if isinstance(error, BotoCoreError) else None


def _of_answer(error: Exception, place: str, section: S3) -> PipelineError:
    code, response = answered(error), error.response  # type: ignore[attr-defined]
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = " ".join(f"{code} {response.get('Error', {}).get('Message', '')}".split()).rstrip(".")
    if code in _SENTENCES:
        kind, sentence = _SENTENCES[code]
        return kind(f"{place}: {sentence} (the store said: {said}).")
    if status >= 500 or status == 429 or code in _SERVER_IS_UNWELL:
        return UnavailableError(
            f"{place}: the object store at {_endpoint(section)} still answers {status} ({said}) after "
            f"{section.max_attempts} tries; see that it is well and run the step again."
        )
    return PipelineError(f"{place}: the object store refuses with {status} ({said}).")


def _of_sdk(error: Exception, place: str, section: S3) -> PipelineError:
    from botocore import exceptions

    said = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return MissingSecretError(f"{place}: no credentials of an object store are set; {CREDENTIALS}.")
    if isinstance(error, exceptions.FlexibleChecksumError | exceptions.ChecksumError):
        return UnavailableError(f"{place}: the bytes were changed on their way ({said}); run the step again.")
    if isinstance(error, exceptions.ParamValidationError | exceptions.InvalidDNSNameError):
        return UsageError(f"{place}: no store takes this name ({said}); write it as s3://BUCKET/PREFIX.")
    if isinstance(error, exceptions.NoRegionError | exceptions.ProfileNotFound | exceptions.InvalidRegionError):
        return SettingsError(f"{place}: {said}; set s3.region, or the profile the SDK shall take.")
    return UnavailableError(
        f"{place}: the object store at {_endpoint(section)} cannot be reached ({said}); "
        "see that it is up and that s3.endpoint_url is right, then run the step again."
    )


def _endpoint(section: S3) -> str:
    return section.endpoint_url or "AWS"
