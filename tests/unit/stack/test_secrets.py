from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from stack import secrets
from stack.places import Places


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    for name in secrets.GENERATED:
        monkeypatch.delenv(name, raising=False)
    return Places(tmp_path)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_generated_once_into_files_only_their_owner_reads(places: Places) -> None:
    first = secrets.load_or_generate(places)
    assert sorted(first) == sorted(secrets.GENERATED)
    assert len(set(first.values())) == len(first)
    assert _mode(places.secrets) == _mode(places.passwords) == 0o600
    assert secrets.load_or_generate(places) == first


def test_two_roots_have_different_secrets(places: Places, tmp_path: Path) -> None:
    other = secrets.load_or_generate(Places(tmp_path / "other"))
    assert not set(other.values()) & set(secrets.load_or_generate(places).values())


def test_a_file_others_could_read_is_closed(places: Places) -> None:
    secrets.load_or_generate(places)
    places.secrets.chmod(0o644)
    secrets.load_or_generate(places)
    assert _mode(places.secrets) == 0o600


def test_the_environment_wins_and_is_not_written_down(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", "c0ffee" * 8)
    assert secrets.load_or_generate(places)["PIPELINE_SECRETS__PSEUDONYM_KEY"] == "c0ffee" * 8
    assert "c0ffee" not in places.secrets.read_text()


def test_a_secret_of_ones_own_in_the_file_is_kept_and_the_missing_are_added(places: Places) -> None:
    places.secrets.write_text("# mine\nPIPELINE_SECRETS__PSEUDONYM_KEY=abc\n")
    assert secrets.load_or_generate(places)["PIPELINE_SECRETS__PSEUDONYM_KEY"] == "abc"
    assert sorted(secrets.read(places.secrets)) == sorted(secrets.GENERATED)


def test_airflow_gets_the_passwords_that_are_shown(places: Places) -> None:
    known = secrets.load_or_generate(places)
    assert json.loads(places.passwords.read_text()) == {
        "admin": known[secrets.ADMIN_PASSWORD],
        "reviewer": known[secrets.REVIEWER_PASSWORD],
    }
