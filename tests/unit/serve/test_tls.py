"""Secured by a real certificate, made for the test."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import UsageError
from pipeline.serve.server import Service
from tests.fixtures.wire import connected, request
from tests.unit.serve.conftest import running, until


def certified(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """Makes a certificate of `localhost` that signs itself; returns chain and key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"]
    words += [
        "-keyout",
        str(key),
        "-out",
        str(chain),
        "-subj",
        f"/CN={name}",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    subprocess.run([*words, *(more or ("-nodes",))], check=True, capture_output=True)
    return chain, key


def trusting(chain: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=chain)


def settings_of(folder: Path, chain: Path | None, key: Path | None, *more: str):
    given = [f"serve.tls_certificate={chain}"] if chain else []
    given += [f"serve.tls_key={key}"] if key else []
    return settings_module.load([f"store.root={folder}", "serve.port=0", *given, *more])


def test_it_is_served_over_tls_and_nothing_else(tmp_path):
    chain, key = certified(tmp_path, "one")
    service = Service(settings_of(tmp_path, chain, key))
    with running(service):
        with connected(service.port, trusting(chain)) as wire:
            wire.send(request("GET", "/healthz"))
            reply = wire.reply()
            assert reply.status == 200 and reply.headers["strict-transport-security"] == "max-age=31536000"
            wire.send(request("POST", "/v1/search", content_length=str(10**8)) + b"a" * 200_000)
            assert wire.reply().status == 413
        with connected(service.port) as plain:
            plain.send(request("GET", "/healthz"))
            plain.half_close()
            with pytest.raises(EOFError):
                plain.reply()


def test_a_client_that_speaks_an_old_version_is_not_served(tmp_path):
    chain, key = certified(tmp_path, "one")
    service = Service(settings_of(tmp_path, chain, key))
    old = trusting(chain)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with running(service), pytest.raises(ssl.SSLError), connected(service.port, old):
        pass


def test_a_new_certificate_is_shown_without_a_restart_and_a_bad_one_is_not(tmp_path):
    chain, key = certified(tmp_path, "one")
    first = trusting(chain)
    service = Service(settings_of(tmp_path, chain, key, "serve.poll_seconds=0.02"))

    def shows(trusted: ssl.SSLContext) -> bool:
        try:
            with connected(service.port, trusted) as wire:
                wire.send(request("GET", "/healthz"))
                return wire.reply().status == 200
        except ssl.SSLError:
            return False

    with running(service):
        assert shows(first)
        seen = service._certificate._seen
        key.write_text("torn")
        until(lambda: service._certificate._seen != seen, "the torn key to be looked at")
        assert shows(first)
        other, other_key = certified(tmp_path, "two")
        other_key.replace(key)
        other.replace(chain)
        until(lambda: shows(trusting(chain)), "the new certificate")
        assert not shows(first)


@pytest.mark.parametrize(("has_chain", "has_key"), [(True, False), (False, True)])
def test_half_a_pair_is_one_sentence(tmp_path, has_chain, has_key):
    chain, key = certified(tmp_path, "one")
    with pytest.raises(UsageError, match=r"set both serve.tls_certificate and serve.tls_key"):
        Service(settings_of(tmp_path, chain if has_chain else None, key if has_key else None))


def test_a_pair_that_cannot_be_used_is_one_sentence(tmp_path):
    chain, key = certified(tmp_path, "one")
    _, other = certified(tmp_path, "two")
    locked_chain, locked = certified(tmp_path, "locked", "-passout", "pass:word")
    torn = tmp_path / "torn.pem"
    torn.write_text("-----BEGIN CERTIFICATE-----\n")
    for pair in ((chain, other), (locked_chain, locked), (torn, key), (tmp_path / "none.pem", key), (key, chain)):
        with pytest.raises(UsageError, match=r"cannot be used \(.+\); they must be a PEM chain and its PEM key"):
            Service(settings_of(tmp_path, *pair))
