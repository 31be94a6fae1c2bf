"""Who may ask: tokens at rest, scopes, what is open without, and what a changed file does."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys

import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import CorruptArtifactError, SettingsError, UsageError
from pipeline.serve import tokens
from pipeline.serve.app import App, Route
from pipeline.serve.audit import Audit
from pipeline.serve.champion import Champion
from pipeline.serve.exchange import Request, Response
from pipeline.serve.guard import Guard
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics
from pipeline.serve.server import Service
from pipeline.serve.tokens import Scope, Tokens
from tests.fixtures.wire import Wire, connected, request
from tests.unit.serve.conftest import running, until

DIGEST = "0" * 64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "serve" / "tokens.json"


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# At rest.


def test_a_token_is_random_and_only_its_digest_is_kept(path):
    token = tokens.add(path, "shop", "read")
    other = tokens.add(path, "till", "write")
    # The prefix and 32 bytes in base64: four letters for three bytes.
    assert len(token.removeprefix("nightshift_")) == 43 and token != other
    assert token[-43:] not in path.read_text()
    assert [(each.name, each.scope) for each in tokens.read(path)] == [("shop", "read"), ("till", "write")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_stands_for_one_token(path):
    tokens.add(path, "shop", "read")
    with pytest.raises(UsageError, match="there is a token shop already"):
        tokens.add(path, "shop", "admin")
    with pytest.raises(UsageError, match="there is no token 'till'; known are shop"):
        tokens.remove(path, "till")
    tokens.remove(path, "shop")
    assert tokens.read(path) == []


@pytest.mark.parametrize("name", ["", "a b", "../x", "ä", "a" * 65, "-a", "a\n"])
def test_a_name_that_does_not_belong_in_a_log_is_refused(path, name):
    with pytest.raises(UsageError, match="must be letters, digits"):
        tokens.add(path, name, "read")
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"tokens": [{"na', "is no file of tokens"),
        ("[]", "is no file of tokens"),
        (json.dumps({"tokens": [{"name": "a", "scope": "god", "sha256": DIGEST}]}), "is no file of tokens"),
        (json.dumps({"tokens": [{"name": "a", "scope": "read", "sha256": "plain"}]}), "is no file of tokens"),
        (json.dumps({"tokens": [{"name": "a", "scope": "read", "sha256": DIGEST}] * 2}), "holds a twice"),
        (b"\xff\xfe".decode("latin-1"), "is no file of tokens"),
    ],
)
def test_a_file_that_is_no_file_of_tokens_is_one_sentence(path, text, sentence):
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CorruptArtifactError, match=sentence):
        tokens.read(path)


def test_a_file_others_may_write_lets_nobody_in(path):
    tokens.add(path, "shop", "read")
    path.chmod(0o620)
    with pytest.raises(CorruptArtifactError, match="others may write it"):
        tokens.read(path)


@pytest.mark.parametrize("text", ["shop", "shop:read:abc", f"shop:god:{DIGEST}", f"a b:read:{DIGEST}"])
def test_a_stated_digest_that_is_none_is_one_sentence(text):
    with pytest.raises(SettingsError, match="NAME:SCOPE:SHA256"):
        tokens.stated([text])


def test_the_command_prints_a_token_once_and_lists_none(tmp_path):
    def run(*words: str) -> subprocess.CompletedProcess:
        given = [sys.executable, "-m", "pipeline", "token", *words, f"--set=store.root={tmp_path}"]
        return subprocess.run(given, capture_output=True, text=True, timeout=60)

    made = run("add", "--name", "shop", "--scope", "write")
    token = made.stdout.strip()
    digest = tokens.digest_of(token.encode())
    assert f'["shop:write:{digest}"]' in made.stderr and token not in made.stderr
    listed = run("list").stdout
    assert "shop" in listed and "write" in listed and token not in listed and digest not in listed
    assert run("remove", "--name", "shop").returncode == 0
    again = run("remove", "--name", "shop")
    assert again.returncode == 64 and "there is no token 'shop'" in again.stderr


# Who is let in.


class Door:
    """An application with a route a scope, that answers whoever it lets in."""

    def __init__(self, path, is_local: bool = True, *stated: str) -> None:
        self.metrics, self.audit = Metrics(), Audit(path.with_name("audit.jsonl"))
        self.tokens = Tokens(path, tokens.stated(stated))
        settings = settings_module.load([])
        guard = Guard(self.tokens, is_local, self.metrics)
        limits = Limits.of(settings.serve, settings.shop)
        self.app = App(Champion(self.metrics), limits, self.metrics, guard, self.audit)

    def ask(self, scope: Scope, token: str = "", **headers: str) -> Response:
        given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        if token:
            given[b"authorization"] = f"Bearer {token}".encode()
        route = Route(f"/{scope.name.lower()}", "PUT", lambda _: Response.of({}), scope)
        return self.app.respond(route, Request("PUT", route.name, headers=given), b"id-1")


@pytest.mark.parametrize(("scope", "opens"), [("read", 2), ("write", 3), ("admin", 4)])
def test_a_scope_opens_its_routes_and_those_of_the_scopes_before_it(path, scope, opens):
    token = tokens.add(path, "shop", scope)
    door = Door(path)
    assert [door.ask(each, token).status for each in Scope] == [200] * opens + [403] * (4 - opens)


def test_too_small_a_scope_is_told_with_what_is_missing(path):
    token = tokens.add(path, "shop", "read")
    refused = Door(path).ask(Scope.ADMIN, token)
    assert b"the token shop has read" in refused.content
    assert dict(refused.headers)[b"www-authenticate"] == (
        b'Bearer realm="nightshift", error="insufficient_scope", scope="admin"'
    )


def test_without_tokens_this_machine_may_read_and_write_and_nobody_may_administer(path):
    door = Door(path)
    assert [door.ask(each).status for each in Scope] == [200, 200, 200, 401]
    assert b"python -m pipeline token add --name NAME --scope admin" in door.ask(Scope.ADMIN).content
    elsewhere = Door(path, False)
    assert [elsewhere.ask(each).status for each in Scope] == [200, 401, 401, 401]


def test_one_token_closes_everything_that_is_not_open(path):
    tokens.add(path, "shop", "read")
    door = Door(path)
    assert [door.ask(each).status for each in Scope] == [200, 401, 401, 401]
    assert dict(door.ask(Scope.READ).headers)[b"www-authenticate"] == b'Bearer realm="nightshift"'
    kept_out = b'serve_kept_out_total{reason="missing"} 4.0'
    assert kept_out in asyncio.run(door.metrics.text())


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer x", "Basic {}", "{}", "Bearer {}x", "Bearer " + "a" * 9999]
)
def test_what_is_no_token_opens_nothing(path, header):
    token = tokens.add(path, "shop", "admin")
    refused = Door(path).ask(Scope.READ, authorization=header.format(token))
    assert refused.status == 401
    assert dict(refused.headers)[b"www-authenticate"].endswith(b'error="invalid_token"')


def test_a_digest_in_the_settings_is_a_token_too(path):
    stated = f"till:write:{tokens.digest_of(b'secret')}"
    door = Door(path, False, stated)
    assert [door.ask(each, "secret").status for each in Scope] == [200, 200, 200, 403]


@pytest.mark.parametrize(
    ("site", "host", "status"),
    [
        ("same-origin", "localhost:8080", 200), ("none", "127.0.0.1", 200), ("same-origin", "[::1]:8080", 200),
        ("cross-site", "localhost", 403), ("same-site", "localhost", 403),
        ("same-origin", "shop.example:8080", 403), ("same-origin", "127.0.0.1.shop.example", 403),
    ],
)  # fmt: skip
def test_without_tokens_a_browser_asks_for_this_servers_own_pages_alone(path, site, host, status):
    assert Door(path).ask(Scope.WRITE, sec_fetch_site=site, host=host).status == status


def test_with_a_token_it_does_not_matter_whose_page_asks(path):
    token = tokens.add(path, "shop", "read")
    assert Door(path).ask(Scope.READ, token, sec_fetch_site="cross-site", host="shop.example").status == 200


# What is recorded.


def test_admin_calls_are_recorded_with_who_what_and_how_it_ended(path):
    tokens_of = {name: tokens.add(path, name, name) for name in ("admin", "read")}
    door = Door(path)
    for token in (tokens_of["admin"], tokens_of["read"], "unknown", ""):
        door.ask(Scope.ADMIN, token)
    door.ask(Scope.WRITE, tokens_of["admin"])
    lines = [json.loads(line) for line in door.audit.path.read_text().splitlines()]
    # Strangers are counted and write no lines: nobody without a token can fill the disk.
    assert [(line["who"], line["what"], line["status"], line["request_id"]) for line in lines] == [
        ("admin", "PUT /admin", 200, "id-1"), ("read", "PUT /admin", 403, "id-1"),
    ]  # fmt: skip
    assert stat.S_IMODE(door.audit.path.stat().st_mode) == 0o600


def test_what_cannot_be_recorded_is_not_done(path):
    token = tokens.add(path, "boss", "admin")
    door = Door(path)
    door.audit.path.mkdir()
    done = []
    route = Route("/admin", "PUT", lambda _: done.append(1) or Response.of({}), Scope.ADMIN)
    refused = door.app.respond(
        route, Request("PUT", "/admin", headers={b"authorization": f"Bearer {token}".encode()}), b""
    )
    assert refused.status == 503 and not done


# While it serves.


def test_a_changed_file_is_taken_up_and_a_torn_one_is_not(followed, path, tmp_path):
    file = tmp_path / "tokens.json"
    settings = settings_module.load(
        [f"store.root={tmp_path}", "serve.port=0", "serve.poll_seconds=0.02", f"serve.tokens_file={file}"]
    )
    service = Service(settings)

    def status(wire: Wire, token: str) -> int:
        wire.send(request("POST", "/v1/recommend", b"{}", **bearing(token)))
        return wire.reply().status

    # 503: let in, and there is no bundle.
    with running(service), connected(service.port) as wire:
        assert status(wire, "none yet") == 503
        token = tokens.add(file, "shop", "read")
        until(lambda: status(wire, "wrong") == 401, "the first token")
        assert status(wire, token) == 503
        whole = file.read_text()
        file.write_text(whole[:-20])
        until(lambda: "is no file of tokens" in service.replica.tokens.problem, "the torn file")
        assert (status(wire, token), status(wire, "wrong")) == (503, 401)
        file.unlink()
        until(lambda: "is gone" in service.replica.tokens.problem, "the file that is gone")
        assert (status(wire, token), status(wire, "wrong")) == (503, 401)
        other = tokens.add(file, "till", "read")
        until(lambda: status(wire, other) == 503, "the other token")
        assert status(wire, token) == 401 and service.replica.tokens.problem == ""


def test_an_address_others_can_reach_needs_a_token(tmp_path):
    given = [f"store.root={tmp_path}", "serve.port=0", "serve.host=0.0.0.0"]
    with pytest.raises(UsageError, match=r"serve.host 0.0.0.0 lets other machines ask and there is no token"):
        Service(settings_module.load(given))
    stated = json.dumps([f"till:write:{tokens.digest_of(b'secret')}"])
    service = Service(settings_module.load([*given, f"serve.token_digests={stated}"]))
    with running(service), connected(service.port) as wire:
        for path, headers, status in (
            ("/healthz", {}, 200), ("/readyz", {}, 503), ("/openapi.json", {}, 200), ("/", {}, 200),
            ("/metrics", {}, 401), ("/metrics", bearing("secret"), 200), ("/v1/model", {}, 401),
        ):  # fmt: skip
            wire.send(request("GET", path, **headers))
            assert (path, wire.reply().status) == (path, status)


def test_every_route_asks_for_what_it_should(path):
    scopes = {route.name: route.scope for route in Door(path).app.routes}
    is_open = {"/", "/healthz", "/readyz", "/openapi.json"}
    changes = {"/v1/events": Scope.WRITE, "/v1/items": Scope.ADMIN}
    assert scopes == {name: Scope.OPEN if name in is_open else changes.get(name, Scope.READ) for name in scopes}
