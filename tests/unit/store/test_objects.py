from __future__ import annotations

import pytest

from pipeline.core.errors import UsageError
from pipeline.store.objects import Address


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [("s3://logs", "logs", ""), ("s3://logs/", "logs", ""), ("s3://logs/a/b/", "logs", "a/b")],
)
def test_an_address_is_a_bucket_and_a_key(text: str, bucket: str, key: str) -> None:
    assert Address.parse(text) == Address(bucket, key)


def test_addresses_are_put_together_below_any_prefix() -> None:
    assert str(Address.parse("s3://logs") / "day.csv") == "s3://logs/day.csv"
    assert str(Address.parse("s3://logs/shop/") / "day.csv") == "s3://logs/shop/day.csv"


@pytest.mark.parametrize("text", ["s3://", "s3:///key", "/folder", "http://logs/key"])
def test_what_names_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no bucket; write it as s3://BUCKET/PREFIX"):
        Address.parse(text)
