"""What of a setting may be shown, and what is hidden."""

from __future__ import annotations

import pytest

from pipeline.core.masking import masked, shown


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://ann:hunter2@host:1/x", "http://ann:***@host:1/x"),
        ("postgresql+psycopg2://ann:h/un@ter2@host/db", "postgresql+psycopg2://ann:***@host/db"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("postgresql://host/db?user=ann&password=hunter2&a=b", "postgresql://host/db?user=ann&password=***&a=b"),
        ("cannot reach postgresql://ann:hunter2@host/db now", "cannot reach postgresql://ann:***@host/db now"),
        ("http://host:5000/a", "http://host:5000/a"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("sqlite:////var/ledger.sqlite", "sqlite:////var/ledger.sqlite"),
        ("no address: a@b", "no address: a@b"),
    ],
)
def test_an_address_is_shown_without_its_password(given: str, expected: str) -> None:
    assert shown(given) == expected


def test_a_value_whose_name_says_it_is_secret_is_hidden_however_deep_it_lies() -> None:
    given = {"a": [{"spark.hadoop.fs.s3a.access.key": "k", "auth.token": "", "plain": 3}], "u": "x://a:b@c"}
    # What is empty is no secret, and telling that it is unset helps.
    assert masked(given) == {
        "a": [{"spark.hadoop.fs.s3a.access.key": "***", "auth.token": "", "plain": 3}],
        "u": "x://a:***@c",
    }
