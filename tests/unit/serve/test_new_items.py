"""Items put between retrains: found at once, after a restart, by every server, until a bundle knows better."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.model.live_items import LiveItem
from pipeline.serve.journal import Journal
from pipeline.serve.server import Service
from pipeline.serve.tokens import digest_of as digest_of_token
from tests.fixtures.contenders import digest_of, sealed_again
from tests.unit.serve import conftest
from tests.unit.serve.conftest import Followed, until

NEW = {"item_id": "new-1", "title": "Zeppelin", "category": "home/attic", "brand": "b", "price": 3.5, "in_stock": True}
DAY = 86_400.0
IN_ATTIC = {"history": [{"item_id": "item-003"}], "filter": {"category": "home/attic"}}


TOKEN = "keeper"


@contextmanager
def running(service: Service) -> Iterator[httpx.Client]:
    """As `conftest.running`; the client may put items."""
    with conftest.running(service) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        yield client


@pytest.fixture
def followed(followed: Followed) -> Followed:
    """A store whose servers let `TOKEN` put items."""
    digests = (f"{TOKEN}:admin:{digest_of_token(TOKEN.encode())}",)
    serve = followed.settings.serve.model_copy(update={"token_digests": digests})
    followed.settings = followed.settings.model_copy(update={"serve": serve})
    return followed


def put(client: httpx.Client, *items: dict[str, Any]) -> httpx.Response:
    return client.put("/v1/items", json={"items": list(items)})


def in_attic(client: httpx.Client) -> list[str]:
    return [item["item_id"] for item in client.post("/v1/recommend", json=IN_ATTIC).json()["items"]]


def lived(client: httpx.Client) -> int:
    return client.get("/v1/model").json()["live_items"]


@pytest.fixture
def served(followed: Followed, bundles: list[Path]) -> Followed:
    """A store whose champion is the first bundle."""
    followed.publish(bundles[0])
    followed.point(bundles[0], 1)
    return followed


def test_a_new_item_is_answered_shown_filtered_and_met_from_then_on(served, bundles):
    with running(Service(served.settings)) as client:
        before = client.post("/v1/recommend", json={"history": [{"item_id": "item-003"}], "k": 20}).content
        assert in_attic(client) == []
        taken = put(client, NEW)
        assert taken.status_code == 200
        assert taken.json() == {
            "taken": 1, "new": 1, "live_items": 1, "model_version": "1", "bundle_digest": digest_of(bundles[0])
        }  # fmt: skip
        found = client.post("/v1/recommend", json=IN_ATTIC).json()["items"][0]
        assert {name: found[name] for name in ("item_id", "title", "category", "brand", "price")} == {
            name: NEW[name] for name in ("item_id", "title", "category", "brand", "price")
        }
        assert client.get("/v1/items/new-1/similar?k=3").json()["items"][0]["item_id"].startswith("item-")
        met = client.post("/v1/recommend", json={"history": [{"item_id": "new-1"}]}).json()
        assert met["fallback"] is None and "new-1" not in [item["item_id"] for item in met["items"]]
        assert "serve_live_items 1.0" in client.get("/metrics").text
        # Nothing of the new item lies among these twenty, so nothing about them changed.
        after = client.post("/v1/recommend", json={"history": [{"item_id": "item-003"}], "k": 20}).content
        assert b"new-1" in after or after == before


def test_a_new_item_is_explained_as_any_other_and_may_itself_be_the_reason(served):
    with running(Service(served.settings)) as client:
        put(client, NEW)
        (found,) = client.post("/v1/recommend", json={**IN_ATTIC, "explain": True}).json()["items"]
        assert found["why"]["likeness"] == pytest.approx(found["score"], abs=1e-6)
        by_it = {"history": [{"item_id": "new-1"}], "k": 3, "explain": True}
        whys = [item["why"] for item in client.post("/v1/recommend", json=by_it).json()["items"]]
        assert {each["item_id"] for why in whys for each in why["history"]} == {"new-1"}
        typed = client.post("/v1/search", json={"query": "zeppelin", "explain": True}).json()["items"][0]
        assert (typed["item_id"], typed["why"]["words"]) == ("new-1", ["zeppelin"])


def test_a_known_item_is_shown_as_put_and_ranked_as_before(served):
    with running(Service(served.settings)) as client:
        body = {"history": [{"item_id": "item-003"}], "k": 10}
        before = client.post("/v1/recommend", json=body).json()["items"]
        assert put(client, {"item_id": before[0]["item_id"], "title": "Dearer", "price": 9.75}).json()["new"] == 0
        after = client.post("/v1/recommend", json=body).json()["items"]
        assert after[0] == {**before[0], "title": "Dearer", "price": 9.75, "category": None, "brand": None}
        assert after[1:] == before[1:]


def test_what_was_put_is_there_after_a_restart_and_in_every_server_of_the_store(served):
    with running(Service(served.settings)) as first, running(Service(served.settings)) as second:
        assert put(first, NEW).status_code == 200
        until(lambda: in_attic(second) == ["new-1"], "the other server")
        assert put(second, {**NEW, "title": "Airship"}).status_code == 200
        until(lambda: first.post("/v1/recommend", json=IN_ATTIC).json()["items"][0]["title"] == "Airship", "the first")
    with running(Service(served.settings)) as third:
        assert third.post("/v1/recommend", json=IN_ATTIC).json()["items"][0]["title"] == "Airship"


def test_servers_that_are_asked_at_once_end_with_the_same_items(served):
    with running(Service(served.settings)) as first, running(Service(served.settings)) as second:
        asked = [(client, number) for number in range(20) for client in (first, second)]

        def ask(client: httpx.Client, number: int) -> None:
            name = "first" if client is first else "second"
            assert put(client, {**NEW, "title": f"{name} {number}"}).status_code == 200

        threads = [
            threading.Thread(target=lambda c=c: [ask(c, n) for o, n in asked if o is c]) for c in (first, second)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        journal = Journal(served.layout.new_items)
        last = journal.read()[-1].title

        def shown(client: httpx.Client) -> str:
            return client.post("/v1/recommend", json=IN_ATTIC).json()["items"][0]["title"]

        until(lambda: shown(first) == shown(second) == last, "both with what was put last")


def test_the_next_bundle_gets_what_it_does_not_know_and_supersedes_what_it_does(served, bundles, tmp_path):
    known = {"item_id": "item-005", "title": "Put", "category": "home/attic", "price": 1.0}
    # The first bundle's data end a week before the second's; what is put now is newer than both.
    later = sealed_again(bundles[1], tmp_path / "later", data_end="2999-01-01T00:00:00+00:00")
    for bundle in (bundles[1], later):
        served.publish(bundle)
    with running(Service(served.settings)) as client:
        assert put(client, NEW, known).json()["live_items"] == 2
        assert set(in_attic(client)) == {"new-1", "item-005"}
        served.point(bundles[1], 2)
        until(lambda: client.get("/readyz").json()["sequence"] == 2, "the second")
        assert set(in_attic(client)) == {"new-1", "item-005"}
        served.point(later, 3)
        until(lambda: client.get("/readyz").json()["sequence"] == 3, "one that saw what was put")
        assert in_attic(client) == ["new-1"] and lived(client) == 1


def test_an_item_put_while_bundles_are_swapped_is_in_every_later_one(served, bundles):
    for bundle in bundles:
        served.publish(bundle)
    done, counts = threading.Event(), []

    def put_more(client: httpx.Client) -> None:
        while not done.is_set():
            reply = put(client, {"item_id": f"new-{len(counts)}", "category": "home/attic"})
            counts.append(reply.json().get("live_items", reply.text))

    with running(Service(served.settings)) as client:
        thread = threading.Thread(target=put_more, args=(client,))
        thread.start()
        for sequence in range(2, 6):
            # So that some are put between any two bundles.
            until(lambda so_far=len(counts): len(counts) > so_far, "another item")
            served.point(bundles[sequence % 3], sequence)
            until(lambda wanted=sequence: client.get("/readyz").json()["sequence"] == wanted, f"sequence {sequence}")
        done.set()
        thread.join(60)
        assert counts == list(range(1, len(counts) + 1)) and len(counts) >= 4
        found = client.post("/v1/recommend", json={**IN_ATTIC, "k": 500}).json()["items"]
        assert len(found) == min(500, len(counts))
        assert {item["item_id"] for item in found} <= {f"new-{number}" for number in range(len(counts))}
        assert lived(client) == len(counts)


def test_what_no_bundle_came_to_know_ends_after_its_days(served):
    journal = Journal(served.layout.new_items)
    served.layout.new_items.parent.mkdir(parents=True, exist_ok=True)
    now = time.time()
    old = LiveItem("old", now - 31 * DAY, "Old", "home/attic")
    journal.append([old, LiveItem("young", now - 29 * DAY, "Young", "home/attic")], lambda: None)
    with running(Service(served.settings)) as client:
        assert in_attic(client) == ["young"]
        # Another server's entry that is over by now is taken in and forgotten in one look.
        journal.append([LiveItem("young", now - 40 * DAY, "Young", "home/attic")], lambda: None)
        until(lambda: in_attic(client) == [], "the young one ended")
        assert lived(client) == 0


def test_a_line_torn_by_a_crash_is_left_out_then_mended(served, caplog):
    with running(Service(served.settings)) as client:
        put(client, NEW)
    path = served.layout.new_items
    with path.open("ab") as file:
        file.write(b'[{"item_id":"half","at":17')
    with running(Service(served.settings)) as client:
        assert in_attic(client) == ["new-1"]
        assert put(client, {**NEW, "item_id": "new-2"}).status_code == 200
        assert set(in_attic(client)) == {"new-1", "new-2"}
    assert "its last line was torn by a crash; 26 bytes are cut off" in caplog.text
    assert [item["item_id"] for line in path.read_text().splitlines() for item in json.loads(line)] == [
        "new-1",
        "new-2",
    ]


def test_a_line_of_something_else_is_left_out_with_a_sentence(served, caplog):
    served.layout.new_items.parent.mkdir(parents=True, exist_ok=True)
    served.layout.new_items.write_text(
        'no json\n{"item_id": 1}\n[{"item_id": "new-1", "at": 9e9, "category": "home/attic"}]\n'
    )
    with running(Service(served.settings)) as client:
        assert in_attic(client) == ["new-1"]
    assert caplog.text.count("a line holds no items") == 2


def test_a_full_disk_takes_nothing_and_says_so(served):
    served.layout.new_items.parent.mkdir(parents=True, exist_ok=True)
    served.layout.new_items.symlink_to("/dev/full")
    with running(Service(served.settings)) as client:
        refused = put(client, NEW)
        assert refused.status_code == 507 and "no space is left on the device" in refused.json()["error"]
        assert in_attic(client) == [] and lived(client) == 0
        served.layout.new_items.unlink()
        assert put(client, NEW).status_code == 200


def test_a_journal_that_cannot_be_written_takes_nothing_and_says_so(served):
    served.layout.new_items.mkdir(parents=True)
    with running(Service(served.settings)) as client:
        refused = put(client, NEW)
        assert refused.status_code == 503 and "new_items.jsonl" in refused.json()["error"]
        assert "The items were not taken" in refused.json()["error"]
        assert in_attic(client) == [] and client.get("/readyz").status_code == 200


def test_more_items_than_are_held_are_refused_whole(served):
    served.settings = served.settings.model_copy(
        update={"serve": served.settings.serve.model_copy(update={"max_live_items": 2})}
    )
    with running(Service(served.settings)) as client:
        assert put(client, NEW, {**NEW, "item_id": "new-2"}).status_code == 200
        refused = put(client, {**NEW, "title": "Other"}, {**NEW, "item_id": "new-3"})
        assert refused.status_code == 507 and "at most 2 are held (serve.max_live_items)" in refused.json()["error"]
        assert put(client, {**NEW, "title": "Other"}).status_code == 200
        assert lived(client) == 2


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "The field items is missing."),
        ({"items": []}, "items"),
        ({"items": [{"title": "x"}]}, "item_id is missing"),
        ({"items": [{"item_id": "x", "price": -1}]}, "price"),
        ({"items": [{"item_id": "x", "vector": [1e300]}]}, "vector"),
        ({"items": [{"item_id": "x", "colour": "red"}]}, "colour is not known here"),
        ({"items": [{"item_id": str(n)} for n in range(101)]}, "items"),
    ],
)
def test_what_makes_no_item_is_refused_by_its_field(served, body, told):
    with running(Service(served.settings)) as client:
        refused = client.put("/v1/items", json=body)
        assert refused.status_code == 422 and told in refused.json()["error"]
        assert not served.layout.new_items.exists()


def test_a_server_without_a_champion_or_with_a_bundle_given_takes_none(followed, bundles):
    with running(Service(followed.settings, bundles[0])) as given:
        assert put(given, NEW).status_code == 409
    with running(Service(followed.settings)) as empty:
        refused = put(empty, NEW)
        assert refused.status_code == 503 and refused.json()["error"].startswith("No champion yet")


def test_the_journal_is_written_anew_when_most_of_it_counts_no_more(tmp_path):
    journal, other = Journal(tmp_path / "new_items.jsonl"), Journal(tmp_path / "new_items.jsonl")
    for number in range(12):
        journal.append([LiveItem(f"item-{n}", float(number), f"Thing {number}") for n in range(100)], lambda: None)
    assert len(other.read()) == 1200
    # 1,200 items were read and 100 count: that is just not too much.
    journal.compact()
    assert (tmp_path / "new_items.jsonl").read_bytes().count(b"\n") == 12
    journal.append([LiveItem("item-0", 11.0)], lambda: None)
    journal.compact()
    assert (tmp_path / "new_items.jsonl").read_bytes().count(b"\n") == 100
    assert other.read() == list(journal.latest.values())
    other.append([LiveItem("item-0", 12.0)], lambda: None)
    assert journal.read()[-1] == LiveItem("item-0", 12.0)
    assert journal.latest == other.latest and len(journal.latest) == 100
