"""The document says what the server does; what its examples ask is answered."""

from __future__ import annotations

import base64
import hashlib
import re

import msgspec
import pytest

from pipeline.core import settings as settings_module
from pipeline.serve import openapi, page
from pipeline.serve.app import Route
from pipeline.serve.exchange import Response
from pipeline.serve.messages import EventsRequest, Limits, PutItems
from tests.fixtures.bundles import item_id


@pytest.fixture(scope="module")
def document(client) -> dict:
    return client.get("/openapi.json").json()


def operations(document: dict) -> list[tuple[str, str, dict]]:
    return [(path, method, said) for path, all_of in document["paths"].items() for method, said in all_of.items()]


def references(value: object) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_route_is_described_and_nothing_else(client, document):
    known = client.get("/nowhere").json()["error"].removeprefix("There is nothing here; known are ").rstrip(".")
    assert set(document["paths"]) == set(known.split(", ")) == set(openapi.ABOUT)


def test_what_the_document_refers_to_is_in_it(document):
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) == schemas


def test_what_every_example_asks_is_answered(client, document):
    asked = 0
    for path, method, said in operations(document):
        content = said.get("requestBody", {}).get("content", {}).get("application/json", {})
        for name, example in content.get("examples", {}).items():
            answer = client.request(method, path, json=example["value"])
            # This server has no Redis and no token to put items with; what they must be is checked all the same.
            known = msgspec.convert(example["value"], openapi.ABOUT[path].body)
            expected = {EventsRequest: 404, PutItems: 401}.get(type(known), 200)
            assert answer.status_code == expected, (path, name, answer.text)
            asked += 1
    assert asked >= 6


def test_an_item_of_the_bundle_has_what_the_document_promises(client, document):
    item = client.get(f"/v1/items/{item_id(3)}/similar?k=1").json()["items"][0]
    # Why it is there stands with an item that is explained alone.
    assert set(item) == set(document["components"]["schemas"]["Scored"]["properties"]) - {"why"}


def test_the_limits_of_this_server_are_stated(document):
    # Those of the fixture's settings.
    asked = document["components"]["schemas"]["RecommendRequest"]["properties"]
    assert [each.get("maximum") for each in asked["k"]["anyOf"]] == [30, None]
    assert asked["history"]["maxItems"] == 6
    similar = document["paths"]["/v1/items/{id}/similar"]["get"]["parameters"]
    assert {each["name"]: each["schema"].get("maximum") for each in similar}["k"] == 30
    assert document["components"]["schemas"]["BatchRequest"]["properties"]["requests"]["maxItems"] == 100


def test_refusals_are_described_by_status(document):
    for path, _, said in operations(document):
        statuses = set(said["responses"])
        assert {"200", "400", "405", "408", "413", "431", "500"} <= statuses
        assert ({"401", "403"} <= statuses) == ("security" in said), path
    recommend = document["paths"]["/v1/recommend"]["post"]
    assert recommend["security"] == [{"token": []}]
    assert set(recommend["responses"]["503"]["headers"]) == {"x-request-id", "retry-after"}


def test_users_may_be_named_where_histories_are_kept(document):
    settings = settings_module.load([])
    route = Route("/v1/search", "POST", lambda _: Response.of({}))
    kept = openapi.document([route], Limits.of(settings.serve, settings.shop), knows_users=True)
    told = [set(made["components"]["schemas"]["SearchRequest"]["properties"]) for made in (kept, document)]
    assert told[0] - told[1] == {"user_id", "pseudonym"}


def test_the_page_runs_its_own_script_alone_and_asks_nobody_else(client):
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "connect-src 'self'" in policy
    for kind in ("script", "style"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|//[a-z]+\.", answer.text.replace("Math", ""))
    assert page.response() is page.response()
