from __future__ import annotations

import hmac
import re

import pytest

from pipeline.core.errors import MissingSecretError, SettingsError
from pipeline.core.pseudonyms import PATTERN, hashers, key_id, previous_keys, pseudonyms
from pipeline.core.sections import Secrets


def test_the_present_key_comes_first_and_none_twice() -> None:
    names = pseudonyms("zoë", Secrets(pseudonym_key="new", previous_pseudonym_keys=("old", "new", "old")))
    expected = [hmac.new(key.encode(), "zoë".encode(), "sha256").hexdigest() for key in ("new", "old")]
    assert [name.partition(".")[0] for name in names] == expected
    assert [name.rpartition(".")[2] for name in names] == [key_id("new"), key_id("old")]
    assert all(re.fullmatch(PATTERN, name) for name in names)


def test_without_a_key_there_are_no_pseudonyms() -> None:
    with pytest.raises(MissingSecretError, match="PIPELINE_SECRETS__PSEUDONYM_KEY is not set"):
        hashers(Secrets())


def test_an_empty_previous_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="previous_pseudonym_keys is empty"):
        previous_keys(Secrets(pseudonym_key="new", previous_pseudonym_keys=("",)))
