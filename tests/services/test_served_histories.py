"""A real server that looks histories up in a real Redis, whatever becomes of that Redis."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as client_library

from pipeline.core import settings as settings_module
from pipeline.core.pseudonyms import pseudonyms
from pipeline.core.run import Run
from pipeline.ingest import step
from pipeline.serve.server import Service
from tests.conftest import PSEUDONYM_KEY
from tests.fixtures.bundles import item_id
from tests.services.redis import PASSWORD, USER, Redis, redis
from tests.services.servers import free_port, own, scratch
from tests.unit.ingest.conftest import HEADER, PROFILE
from tests.unit.serve.conftest import running, until

ANNA = "anna@example.com"
NOW = datetime.fromtimestamp(int(time.time()), UTC)


@pytest.fixture(autouse=True)
def pseudonym_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", PSEUDONYM_KEY)


@contextmanager
def serving(contenders: dict[str, Path], url: str, *more: str) -> Iterator[httpx.Client]:
    # A busy machine may take longer than the default of five milliseconds, which only some tests are about.
    given = ["serve.port=0", f"history.redis_url={url}", "history.wait_milliseconds=1000", *more]
    with running(Service(settings_module.load(given), contenders["right"])) as client:
        yield client


def reachable(client: httpx.Client) -> bool:
    return "serve_history_reachable 1.0" in client.get("/metrics").text


@pytest.fixture
def client(contenders: dict[str, Path], redis_server: Redis, raw: client_library.Redis) -> Iterator[httpx.Client]:
    with serving(contenders, redis_server.url) as found:
        until(lambda: reachable(found), "Redis to be found")
        yield found


@contextmanager
def certified() -> Iterator[tuple[str, str]]:
    """Makes a certificate of this machine's, and its key."""
    with scratch("certificate", USER) as folder:
        names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        certificate, secret_key = str(folder / "cert.pem"), str(folder / "key.pem")
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", secret_key, "-out", certificate]
        subprocess.run([*words, *names], check=True, capture_output=True)
        own(folder, USER)
        yield certificate, secret_key


def event(number: int, kind: str = "view", seconds_ago: int = 60, **fields: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(NOW.timestamp() - seconds_ago, UTC)
    return {"item_id": item_id(number), "event_type": kind, "event_time": at.isoformat(), **fields}


def tell(client: httpx.Client, *events: dict[str, Any], user: str = ANNA) -> dict[str, int]:
    answer = client.post("/v1/events", json={"events": [{"user_id": user, **each} for each in events]})
    assert answer.status_code == 202, answer.text
    return answer.json()


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json={"k": 9, "now": NOW.isoformat(), **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_stored_history_is_answered_as_one_that_is_sent(client: httpx.Client) -> None:
    did = [event(3, seconds_ago=900), event(9, "cart", 300), event(4, "purchase", 120), event(4, "cancel", 60)]
    assert tell(client, *did) == {"accepted": 4, "known": 0, "left_out": 0}
    assert tell(client, *did) == {"accepted": 0, "known": 4, "left_out": 0}
    sent = ask(client, history=did)
    assert "history_source" not in sent
    assert ask(client, user_id=ANNA) == {**sent, "history_source": "stored"}
    search = {"query": "lamp", "now": NOW.isoformat()}
    known = client.post("/v1/search", json={**search, "history": did}).json()
    assert client.post("/v1/search", json={**search, "user_id": ANNA}).json() == {**known, "history_source": "stored"}


def test_what_is_sent_and_what_is_stored_are_one_history(client: httpx.Client) -> None:
    tell(client, event(3, seconds_ago=900), event(9, "cart", 300))
    both = [event(3, seconds_ago=900), event(9, "cart", 300), event(20)]
    # The cart event is sent and stored; the answer is that of three events.
    sent = [event(9, "cart", 300), event(20)]
    assert ask(client, user_id=ANNA, history=sent) == {**ask(client, history=both), "history_source": "both"}
    assert ask(client, user_id="nobody", history=sent)["history_source"] == "request"
    unknown = ask(client, user_id="nobody")
    assert (unknown["history_source"], unknown["fallback"]) == ("none", "empty_history")


def test_in_a_batch_each_is_answered_by_the_history_of_its_own_user(client: httpx.Client) -> None:
    tell(client, event(3, seconds_ago=900), event(9, "cart", 300))
    tell(client, event(20), user="bert@example.com")
    now = {"k": 9, "now": NOW.isoformat()}
    bodies = [{**now, "user_id": ANNA}, {**now, "history": [event(7)]}, {**now, "user_id": "bert@example.com"}]
    twice = {"user_id": ANNA, "pseudonym": f"{'0' * 64}.{'0' * 8}"}
    answers = client.post("/v1/batch", json={"requests": [*bodies, twice]}).json()
    assert answers["answers"][:3] == [client.post("/v1/recommend", json=body).json() for body in bodies]
    assert [answer.get("history_source") for answer in answers["answers"][:3]] == ["stored", None, "stored"]
    assert "both name the user" in answers["answers"][3]["error"]


def test_only_what_becomes_part_of_a_history_is_kept(client: httpx.Client, raw: client_library.Redis) -> None:
    old = event(5, seconds_ago=91 * 86_400)
    told = tell(client, event(3), event(4, "impression"), event(4, "search"), old)
    assert told == {"accepted": 1, "known": 0, "left_out": 3}
    (name,) = raw.keys()
    assert raw.zcard(name) == 1


def test_an_event_without_a_time_is_one_with_what_the_log_says_later(client: httpx.Client) -> None:
    tell(client, {"item_id": item_id(3)})
    soon = datetime.now(UTC).isoformat()
    assert tell(client, {"item_id": item_id(3), "event_time": soon})["accepted"] == 1
    at = {"now": soon}
    assert (
        ask(client, user_id=ANNA, **at)["items"]
        == (ask(client, history=[{"item_id": item_id(3), "event_time": soon}], **at)["items"])
    )


def test_no_raw_id_gets_past_the_server(
    client: httpx.Client, raw: client_library.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    tell(client, event(3))
    ask(client, user_id=ANNA)
    client.post("/v1/recommend", json={"user_id": ANNA, "pseudonym": "x"})
    held = str([(name, raw.zrange(name, 0, -1)) for name in raw.scan_iter()])
    (name,) = pseudonyms(ANNA, settings_module.load().secrets)
    assert name in held
    assert "anna" not in held + client.get("/metrics").text + caplog.text


def test_a_pseudonym_names_a_user_as_well(client: httpx.Client) -> None:
    (name,) = pseudonyms(ANNA, settings_module.load().secrets)
    tell(client, event(3))
    assert ask(client, pseudonym=name) == ask(client, user_id=ANNA)
    answer = client.post("/v1/events", json={"events": [{"pseudonym": name, **event(3)}]})
    assert answer.json() == {"accepted": 0, "known": 1, "left_out": 0}


def test_a_user_told_of_under_the_key_before_is_known_under_the_new_one(
    contenders: dict[str, Path], redis_server: Redis, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(client, event(3, seconds_ago=900))
    monkeypatch.setenv("PIPELINE_SECRETS__PSEUDONYM_KEY", "8b" * 32)
    monkeypatch.setenv("PIPELINE_SECRETS__PREVIOUS_PSEUDONYM_KEYS", f'["{PSEUDONYM_KEY}"]')
    with serving(contenders, redis_server.url) as rotated:
        until(lambda: reachable(rotated), "Redis to be found")
        tell(rotated, event(9, "cart", 300))
        both = ask(rotated, history=[event(3, seconds_ago=900), event(9, "cart", 300)])
        assert ask(rotated, user_id=ANNA) == {**both, "history_source": "stored"}


def test_redis_may_be_killed_and_come_back_under_requests_and_none_fails(contenders: dict[str, Path]) -> None:
    with redis() as mortal, serving(contenders, mortal.url) as client:
        until(lambda: reachable(client), "Redis to be found")
        tell(client, event(3))
        assert ask(client, user_id=ANNA)["history_source"] == "stored"
        mortal.kill()
        until(
            lambda: ask(client, user_id=ANNA)["history_source"] == "unavailable" and not reachable(client), "no Redis"
        )
        lost = client.post("/v1/events", json={"events": [{"user_id": ANNA, **event(3)}]})
        assert lost.status_code == 503
        assert f"Redis at 127.0.0.1:{mortal.port} cannot be reached" in lost.json()["error"]
        assert ask(client, user_id=ANNA, history=[event(3)])["history_source"] == "unavailable"
        mortal.start()
        until(lambda: ask(client, user_id=ANNA)["history_source"] == "none", "Redis to be back")
        tell(client, event(3))
        assert ask(client, user_id=ANNA)["history_source"] == "stored"
        counted = client.get("/metrics").text
        assert 'serve_history_events_total{outcome="refused"} 1.0' in counted
        assert 'serve_history_lookups_total{outcome="skipped"}' in counted


def test_a_redis_that_stops_answering_costs_a_few_answers_their_limit_and_the_others_nothing(
    contenders: dict[str, Path],
) -> None:
    with redis() as frozen, serving(contenders, frozen.url, "history.wait_milliseconds=50") as client:
        until(lambda: reachable(client), "Redis to be found")
        tell(client, event(3))
        with frozen.paused():
            found = [ask(client, user_id=ANNA)["history_source"] for _ in range(20)]
            assert found == ["unavailable"] * 20
            lost = client.post("/v1/events", json={"events": [{"user_id": ANNA, **event(4)}]})
            assert (lost.status_code, "does not answer in time" in lost.json()["error"]) == (503, True)
            counted = client.get("/metrics").text
            late, skipped = (
                int(re.search(rf'lookups_total{{outcome="{outcome}"}} (\d+)', counted)[1])
                for outcome in ("timeout", "skipped")
            )
            # The first is late after 50 ms, and the last at 550 ms at the earliest.
            assert 2 <= late <= 11 and late + skipped == 20
        until(lambda: ask(client, user_id=ANNA)["history_source"] == "stored", "Redis to answer again")


def test_the_shop_and_the_night_write_the_same(
    client: httpx.Client, redis_server: Redis, raw: client_library.Redis, tmp_path: Path
) -> None:
    did = [event(3, seconds_ago=900), event(9, "purchase", 300), event(9, "cancel", 60)]
    tell(client, *did)
    live = {name: raw.zrange(name, 0, -1, withscores=True) for name in raw.scan_iter()}
    raw.flushall()
    logs, words = tmp_path / "logs", {"view": "seen", "purchase": "bought", "cancel": "back"}
    logs.mkdir()
    (tmp_path / "profile.yaml").write_text(PROFILE.replace("[sunday]", "[]"))
    days = sorted({each["event_time"][:10] for each in did})
    for day in days:
        lines = (f"{e['event_time']},{ANNA},v1,{words[e['event_type']]},{e['item_id']},,9.50,1" for e in did)
        rows = [line for line in lines if line.startswith(day)]
        (logs / f"{day}.csv").write_text("".join(f"{row}\n" for row in (HEADER, *rows)))
    given = [f"store.root={tmp_path / 'var'}", f"ingest.source={logs}", f"ingest.profile={tmp_path / 'profile.yaml'}"]
    settings = settings_module.load([*given, f"history.redis_url={redis_server.url}"])
    for day in days:
        step.run(settings, Run.open(tmp_path / "var", day, "UTC"))
    assert {name: raw.zrange(name, 0, -1, withscores=True) for name in raw.scan_iter()} == live
    assert tell(client, *did) == {"accepted": 0, "known": 3, "left_out": 0}


def test_a_wrong_password_keeps_nobody_from_an_answer_and_is_said_in_the_log(
    contenders: dict[str, Path], redis_server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(contenders, redis_server.url.replace(PASSWORD, "minnow")) as client:
        until(lambda: "refuses the user or the password" in caplog.text, "the log to say so")
        assert ask(client, user_id=ANNA)["history_source"] == "unavailable"
        assert client.post("/v1/events", json={"events": [{"user_id": ANNA, **event(3)}]}).status_code == 503
    assert "minnow" not in caplog.text


def test_an_address_with_tls_is_read_over_tls_and_only_if_the_certificate_is_trusted(
    contenders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with certified() as (certificate, secret_key):
        tls = ("--tls-port", str(free_port()), "--tls-cert-file", certificate, "--tls-key-file", secret_key)
        with redis(*tls, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"):
            address = f"rediss://:{PASSWORD}@127.0.0.1:{tls[1]}/0"
            with serving(contenders, f"{address}?ssl_ca_certs={certificate}") as client:
                until(lambda: reachable(client), "Redis to be found")
                tell(client, event(3))
                assert ask(client, user_id=ANNA)["history_source"] == "stored"
            with serving(contenders, address) as client:
                until(lambda: "cannot be reached" in caplog.text, "the log to say so")
                assert ask(client, user_id=ANNA)["history_source"] == "unavailable"


def test_a_replica_is_read_and_what_it_cannot_take_is_refused(
    contenders: dict[str, Path], redis_server: Redis, client: httpx.Client
) -> None:
    tell(client, event(3))
    follow = ("--replicaof", f"127.0.0.1 {redis_server.port}", "--masterauth", PASSWORD)
    with redis(*follow) as replica, serving(contenders, replica.url) as reader:
        until(lambda: ask(reader, user_id=ANNA)["history_source"] == "stored", "the replica to follow")
        refused = reader.post("/v1/events", json={"events": [{"user_id": ANNA, **event(4)}]})
        assert (refused.status_code, "being a replica" in refused.json()["error"]) == (503, True)
        assert ask(reader, user_id=ANNA)["history_source"] == "stored"
