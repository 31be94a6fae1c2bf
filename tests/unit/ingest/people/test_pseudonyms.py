from __future__ import annotations

import hmac

import pyarrow as pa
import pytest

from pipeline.core.pseudonyms import fingerprint, key_id, pseudonyms
from pipeline.core.sections import Secrets
from pipeline.ingest.people.pseudonyms import pseudonymiser

KEY, OLD = "7a" * 32, "older-key"


def one(pseudonymise, raw: str) -> str:
    return pseudonymise(pa.array([raw])).to_pylist()[0]


@pytest.mark.parametrize("key", [KEY, "short", "longer than a block of the hash: " * 3, "schlüssel"])
def test_a_pseudonym_is_the_hmac_of_the_id_and_ends_with_the_key_id(key: str) -> None:
    expected = hmac.new(key.encode(), "zoë".encode(), "sha256").hexdigest()
    assert one(pseudonymiser(key), "zoë") == f"{expected}.{fingerprint(key)[:8]}"


def test_nulls_stay_null_and_equal_ids_are_equal_in_every_batch() -> None:
    pseudonymise = pseudonymiser(KEY)
    first, again = (pseudonymise(pa.array(["a", None, "b", "a"])).to_pylist() for _ in range(2))
    assert first == again
    assert (first[1], first[0] == first[3], len(set(first))) == (None, True, 3)


def test_no_text_about_a_pseudonymiser_says_its_key() -> None:
    pseudonymise = pseudonymiser(KEY, [OLD], [f"x.{key_id(OLD)}"])
    one(pseudonymise, "anna")
    assert KEY not in repr(pseudonymise) + repr(pseudonymise.__closure__) + one(pseudonymise, "anna") + key_id(KEY)
    assert OLD not in repr(Secrets(pseudonym_key=KEY, previous_pseudonym_keys=(OLD,)))


def test_a_person_is_known_by_one_pseudonym_a_key() -> None:
    secrets = Secrets(pseudonym_key=KEY, previous_pseudonym_keys=(OLD, KEY))
    assert pseudonyms("anna", secrets) == (one(pseudonymiser(KEY), "anna"), one(pseudonymiser(OLD), "anna"))


def test_whoever_was_forgotten_under_an_older_key_keeps_that_pseudonym_so_that_the_rule_finds_them() -> None:
    gone = one(pseudonymiser(OLD), "anna")
    rotated = pseudonymiser(KEY, [OLD], [gone])
    assert one(rotated, "anna") == gone
    assert one(rotated, "bert") == one(pseudonymiser(KEY), "bert")
