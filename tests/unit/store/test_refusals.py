"""Each refusal of an object store is one sentence that says what to do; tests/services asks real stores."""

from __future__ import annotations

import pytest
from botocore import exceptions

from pipeline.core.errors import (
    MissingInputError,
    MissingSecretError,
    PipelineError,
    SettingsError,
    UnavailableError,
    UsageError,
)
from pipeline.core.sections import S3
from pipeline.store.refusals import answered, lost_connection, sentence_of

SECTION = S3(endpoint_url="http://store:1", max_attempts=3)


def _answer(code: str, status: int, message: str = "Says so.") -> exceptions.ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("code", "status", "kind", "sentence"),
    [
        ("NoSuchBucket", 404, MissingInputError, "there is no such bucket; make it"),
        ("AccessDenied", 403, PipelineError, "access is denied; see that AWS_ACCESS_KEY_ID"),
        ("ExpiredToken", 400, PipelineError, "out of date; renew them"),
        ("NotImplemented", 501, SettingsError, "set s3.conditional_writes"),
        ("PermanentRedirect", 301, SettingsError, "correct s3.region"),
        ("BadDigest", 400, UnavailableError, "changed on their way"),
        ("SlowDown", 503, UnavailableError, "http://store:1 still answers 503 (SlowDown Says so) after 3 tries"),
        ("Whatever", 418, PipelineError, "refuses with 418 (Whatever Says so)"),
    ],
)
def test_what_the_store_answers_becomes_a_sentence(
    code: str, status: int, kind: type[PipelineError], sentence: str
) -> None:
    known = sentence_of(_answer(code, status), "s3://b/k", SECTION)
    assert type(known) is kind
    assert str(known).startswith("s3://b/k: ")
    assert sentence in str(known)


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (exceptions.NoCredentialsError(), MissingSecretError, "no credentials of an object store are set"),
        (exceptions.EndpointConnectionError(endpoint_url="x"), UnavailableError, "http://store:1 cannot be reached"),
        (exceptions.ParamValidationError(report="bad name"), UsageError, "write it as s3://BUCKET/PREFIX"),
        (exceptions.ProfileNotFound(profile="shop"), SettingsError, "set s3.region, or the profile"),
        (exceptions.FlexibleChecksumError(error_msg="differs"), UnavailableError, "changed on their way"),
    ],
)
def test_what_the_sdk_finds_wrong_becomes_a_sentence(
    error: Exception, kind: type[PipelineError], sentence: str
) -> None:
    known = sentence_of(error, "s3://b/k", SECTION)
    assert type(known) is kind
    assert sentence in str(known)


def test_a_defect_of_ours_is_no_refusal() -> None:
    assert sentence_of(KeyError("x"), "s3://b/k", SECTION) is None


def test_an_answer_that_broke_off_is_told_from_one_that_refuses() -> None:
    assert lost_connection(exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2))
    assert not lost_connection(_answer("AccessDenied", 403))
    assert (answered(_answer("AccessDenied", 403)), answered(KeyError("x"))) == ("AccessDenied", "")
