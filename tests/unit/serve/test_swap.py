"""A server that follows the champion's pointer: what it takes, what it refuses, and what nobody notices."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections import Counter

import httpx
import pytest

from pipeline.core import settings as settings_module
from pipeline.core.errors import CorruptArtifactError, UnavailableError, UsageError
from pipeline.serve import answers
from pipeline.serve.champion import Champion, Served
from pipeline.serve.journal import Journal
from pipeline.serve.messages import Limits
from pipeline.serve.metrics import Metrics
from pipeline.serve.new_items import NewItems
from pipeline.serve.server import Service, bind
from pipeline.serve.watcher import Watcher
from tests.fixtures.contenders import digest_of, sealed_again
from tests.unit.serve.conftest import running, until


def served(client: httpx.Client) -> str | None:
    return client.get("/readyz").json()["bundle_digest"]


def problem(client: httpx.Client) -> str:
    return client.get("/readyz").json()["problem"] or ""


def test_without_a_champion_it_is_alive_and_not_ready(followed):
    with running(Service(followed.settings)) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503 and ready.json()["problem"].startswith("No champion yet")
        answer = client.post("/v1/recommend", json={})
        assert answer.status_code == 503 and answer.json()["error"].startswith("No champion yet")
        assert client.get("/v1/model").status_code == 503


def test_the_first_champion_is_taken_up_without_a_restart(followed, bundles):
    with running(Service(followed.settings)) as client:
        followed.publish(bundles[0])
        followed.point(bundles[0], 1, version="12")
        until(lambda: client.get("/readyz").status_code == 200, "the first champion")
        answer = client.post("/v1/recommend", json={}).json()
        assert (answer["model_version"], answer["bundle_digest"]) == ("12", digest_of(bundles[0]))


def test_swaps_under_concurrent_requests_fail_none_and_never_mix_bundles(followed, bundles):
    body = {"history": [{"item_id": "item-003"}, {"item_id": "item-009"}], "k": 10}
    for bundle in bundles:
        followed.publish(bundle)
    followed.point(bundles[0], 1)
    answers: list[tuple[int, str | None, tuple[str, ...]]] = []
    done = threading.Event()

    def ask(port: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as own:
            while not done.is_set():
                reply = own.post("/v1/recommend", json=body)
                found = reply.json()
                items = tuple(item["item_id"] for item in found.get("items", ()))
                answers.append((reply.status_code, found.get("bundle_digest"), items))

    service = Service(followed.settings)
    with running(service) as client:
        threads = [threading.Thread(target=ask, args=(service.port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for sequence in range(2, 8):
            bundle = bundles[sequence % 3]
            followed.point(bundle, sequence)
            until(lambda wanted=sequence: client.get("/readyz").json()["sequence"] == wanted, f"sequence {sequence}")
        done.set()
        for thread in threads:
            thread.join(30)
    assert Counter(status for status, _, _ in answers) == {200: len(answers)}
    by_digest = {digest: {items for _, d, items in answers if d == digest} for _, digest, _ in answers}
    # Each bundle has one right answer and the first two differ, so items of one under the digest of another would show.
    assert [len(found) for found in by_digest.values()] == [1, 1, 1]
    assert by_digest[digest_of(bundles[0])] != by_digest[digest_of(bundles[1])]


def test_a_lower_sequence_number_is_refused(followed, bundles):
    for bundle in bundles[:2]:
        followed.publish(bundle)
    followed.point(bundles[0], 5)
    with running(Service(followed.settings)) as client:
        followed.point(bundles[1], 4)
        until(lambda: "sequence 4" in problem(client), "the refusal")
        assert 'serve_swap_failures_total{reason="sequence"} 0.0' not in client.get("/metrics").text
        assert served(client) == digest_of(bundles[0])
        assert client.get("/readyz").status_code == 200
        followed.point(bundles[1], 6)
        until(lambda: served(client) == digest_of(bundles[1]), "the next higher number")
        assert problem(client) == ""


def test_a_tampered_bundle_keeps_the_old_one_and_is_told_by_metric(followed, bundles):
    followed.publish(bundles[0])
    followed.point(bundles[0], 1)
    with running(Service(followed.settings)) as client:
        tower = followed.publish(bundles[1]) / "query_tower.tflite.gz"
        tower.write_bytes(tower.read_bytes()[:-1] + b"x")
        followed.point(bundles[1], 2)
        until(lambda: "query_tower.tflite.gz: this file was changed" in problem(client), "the refusal")
        assert problem(client).startswith(f"Still serving bundle {digest_of(bundles[0])[:12]}")
        assert served(client) == digest_of(bundles[0])
        assert 'serve_swap_failures_total{reason="corrupt"} 0.0' not in client.get("/metrics").text
        assert client.post("/v1/recommend", json={}).status_code == 200


def test_a_bundle_of_mixed_parts_sealed_again_is_refused_for_its_digest(followed, bundles):
    followed.publish(bundles[0])
    followed.point(bundles[0], 1)
    with running(Service(followed.settings)) as client:
        mixed = followed.publish(bundles[1])
        (mixed / "item_index.faiss").write_bytes((bundles[0] / "item_index.faiss").read_bytes())
        sealed_again(mixed, mixed)
        followed.point(bundles[1], 2)
        until(lambda: "digest is" in problem(client), "the refusal")
        assert served(client) == digest_of(bundles[0])


def test_a_bundle_that_answers_its_goldens_wrongly_is_refused(bundles, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(bundles[1], mixed)
    (mixed / "item_index.faiss").write_bytes((bundles[0] / "item_index.faiss").read_bytes())
    sealed_again(mixed, mixed)
    with pytest.raises(CorruptArtifactError, match="answers its golden request 1 wrongly"):
        Service(settings_module.load(["serve.port=0"]), mixed)


def test_a_torn_pointer_keeps_the_old_bundle(followed, bundles):
    followed.publish(bundles[0])
    followed.point(bundles[0], 1)
    with running(Service(followed.settings)) as client:
        followed.layout.pointer.write_text('{"sequence": 2, "dig')
        until(lambda: "is not a champion's pointer" in problem(client), "the refusal")
        assert served(client) == digest_of(bundles[0])
        followed.point(bundles[0], 1)
        until(lambda: problem(client) == "", "the pointer mended")


@pytest.mark.parametrize("digest", ["../../etc", "A" * 64, 7, None])
def test_a_pointer_to_something_that_is_no_digest_is_refused(followed, digest):
    followed.layout.pointer.parent.mkdir(parents=True)
    followed.layout.pointer.write_text(json.dumps({"sequence": 1, "digest": digest, "version": "1"}))
    service = Service(followed.settings)
    service.socket.close()
    assert service.champion.current is None
    assert "lacks a whole sequence number or a digest" in service.champion.problem


def test_a_port_in_use_is_one_sentence(bundles):
    taken = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(UnavailableError, match=f"Port {port} of 127.0.0.1 is in use"):
        Service(settings_module.load([f"serve.port={port}"]), bundles[0])
    taken.close()


def test_an_address_that_is_not_ours_is_one_sentence():
    with pytest.raises(UsageError, match=r"Cannot listen on 203.0.113.7:0"):
        bind("203.0.113.7", 0)


def test_a_disk_that_fails_while_a_bundle_is_read_keeps_the_old_one_and_names_the_file(followed, bundles):
    followed.publish(bundles[0])
    followed.point(bundles[0], 1)
    with running(Service(followed.settings)) as client:
        tower = followed.publish(bundles[1]) / "query_tower.tflite.gz"
        tower.unlink()
        # Reading this file is an input/output error.
        tower.symlink_to("/proc/self/mem")
        followed.point(bundles[1], 2)
        until(lambda: "Input/output error" in problem(client), "the refusal")
        assert served(client) == digest_of(bundles[0])
        tower.unlink()
        shutil.copy(bundles[1] / tower.name, tower)
        until(lambda: served(client) == digest_of(bundles[1]), "the disk mended")
        assert problem(client) == ""


def test_a_bundle_that_vanishes_while_it_is_loaded_keeps_the_old_one(followed, bundles):
    for bundle in bundles[:2]:
        followed.publish(bundle)
    followed.point(bundles[0], 1)
    limits, metrics = Limits.of(followed.settings.serve, followed.settings.shop), Metrics()
    champion, real = Champion(metrics), answers.rehearsal(limits)

    def rehearse(loaded: Served) -> None:
        if loaded.sequence == 2:
            shutil.rmtree(loaded.bundle.path)
        real(loaded)

    new_items = NewItems(champion, Journal(followed.layout.new_items), 10, 1.0)
    watcher = Watcher(champion, new_items, followed.layout.pointer, followed.layout.bundle, rehearse, 0.0)
    watcher.look()
    first = champion.current
    followed.point(bundles[1], 2)
    watcher.look()
    assert champion.current is first and first and first.sequence == 1
    assert champion.problem.startswith(f"Still serving bundle {digest_of(bundles[0])[:12]}")
    assert "golden.json.gz: No such file or directory" in champion.problem
    assert b'serve_swap_failures_total{reason="missing"} 1.0' in asyncio.run(metrics.text())
    followed.publish(bundles[1])
    followed.point(bundles[1], 3)
    watcher.look()
    assert champion.current is not first and champion.problem == ""


def test_a_storm_of_pointers_ends_with_the_last_and_never_goes_back(followed, bundles):
    for bundle in bundles:
        followed.publish(bundle)
    followed.point(bundles[0], 1)
    with running(Service(followed.settings)) as client:
        seen = []
        for sequence in range(2, 60):
            followed.point(bundles[sequence % 3], sequence)
            ready = client.get("/readyz").json()
            assert not ready["problem"] and client.post("/v1/recommend", json={}).status_code == 200
            seen.append(ready["sequence"])
        until(lambda: client.get("/readyz").json()["sequence"] == 59, "the last")
        assert seen == sorted(seen) and served(client) == digest_of(bundles[59 % 3])
